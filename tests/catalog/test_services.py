"""Files become artifacts only after a look inside."""

import zipfile
from pathlib import Path

import pytest

from tests.catalog.gguf_file import gguf_bytes, write_gguf
from webapp.catalog import services
from webapp.catalog.inspecting import inspect_path
from webapp.catalog.models import Artifact, CatalogModel
from webapp.foundation.errors import Invalid

pytestmark = pytest.mark.django_db


def test_a_sound_file_is_known_by_its_header(import_dir):
    inspected = inspect_path(write_gguf(import_dir / "tiny.gguf"))
    assert (inspected.model_name, inspected.facts["architecture"]) == ("Tiny", "llama")
    assert inspected.size_bytes == (import_dir / "tiny.gguf").stat().st_size


def test_a_file_inside_an_archive_is_read_in_place(import_dir):
    archive = import_dir / "tiny.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("pkg/tiny.gguf", gguf_bytes())
    inspected = inspect_path(archive, "pkg/tiny.gguf")
    assert (inspected.main_file, inspected.source["member"]) == ("tiny.gguf", "pkg/tiny.gguf")
    with pytest.raises(Invalid, match="cannot be read"):
        inspect_path(archive, "pkg/other.gguf")


def test_an_archive_that_is_locked_or_damaged_is_refused(import_dir):
    archive = import_dir / "tiny.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("tiny.gguf", gguf_bytes())
    sound = archive.read_bytes()
    directory = sound.index(b"PK\x01\x02")
    # Bit 0 of the flags means encrypted: in the file's own head, and in the archive's list.
    locked = bytearray(sound)
    locked[6] |= 1
    locked[directory + 8] |= 1
    # 99 is a way of packing that zipfile does not know.
    unknown = bytearray(sound)
    unknown[8], unknown[directory + 10] = 99, 99
    damaged = bytearray(sound)
    damaged[60:90] = b"\xff" * 30
    for content in (locked, unknown, damaged):
        archive.write_bytes(content)
        with pytest.raises(Invalid, match="cannot be read"):
            inspect_path(archive, "tiny.gguf")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage that is long enough to look at",
        gguf_bytes()[:40],
        gguf_bytes()[:-64],
        b"GGUF" + b"\xff" * 64,
    ],
    ids=["empty", "not a gguf", "cut in the header", "cut in the tensors", "absurd counts"],
)
def test_a_broken_file_is_refused_with_what_to_do(import_dir, content):
    path = import_dir / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        inspect_path(path)
    assert "not a model file that can be served" in refused.value.what
    assert "Fetch the file again" in refused.value.advice
    assert not Artifact.objects.exists()


def test_only_allowed_folders_are_opened(import_dir, tmp_path):
    outside = write_gguf(tmp_path / "outside.gguf")
    link = import_dir / "innocent.gguf"
    link.symlink_to(outside)
    for path in (outside, link, import_dir / ".." / "db.sqlite3", import_dir / "absent.gguf"):
        with pytest.raises(Invalid):
            inspect_path(path)
    link.unlink()


def test_the_same_file_twice_is_one_artifact_and_another_under_its_name_is_refused(import_dir, team):
    first = services.add_artifact(team, inspect_path(write_gguf(import_dir / "same.gguf")))
    again = services.add_artifact(team, inspect_path(import_dir / "same.gguf"))
    assert again == first
    larger = write_gguf(import_dir / "same.gguf", tensors={"token_embd.weight": (32, 64)})
    with pytest.raises(Invalid, match=r"has another same\.gguf"):
        services.add_artifact(team, inspect_path(larger))
    assert CatalogModel.objects.count() == Artifact.objects.count() == 1


@pytest.mark.parametrize(
    "way", ["{}", "{}/../import/x.gguf", "{}/", "{}/below", "{root}/../{name}", "{root}/link/{name}"]
)
def test_of_what_is_not_below_an_allowed_folder_nothing_is_told(import_dir, tmp_path, way):
    """The answer is the same for a file, a folder, a link, and for what is not there at all."""
    (tmp_path / "folder").mkdir()
    write_gguf(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "elsewhere").symlink_to("/usr/lib")
    link = import_dir / "link"
    link.symlink_to(tmp_path)
    told = set()
    for name in ("absent", "folder", "file", "dangling", "circle", "elsewhere"):
        asked = way.format(tmp_path / name, root=import_dir, name=name)
        with pytest.raises(Invalid) as refused:
            inspect_path(Path(asked))
        told.add((refused.value.what.replace(str(Path(asked)), "…"), refused.value.advice, str(refused.value.fields)))
    link.unlink()
    [(what, _advice, _fields)] = told
    assert "outside the folders" in what


def test_below_an_allowed_folder_what_is_not_there_is_said(import_dir):
    with pytest.raises(Invalid, match="There is no file"):
        inspect_path(import_dir / "absent.gguf")
