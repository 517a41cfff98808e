"""The fetch program on ordinary folders: resume, checks, and that nothing leaves the target."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.tools import fetch, local
from compose.tools.failures import FetchError
from tests.parts.users import somebody, walkable_folder
from tests.tools.conftest import CONTENT, Yard, modes

SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(("path", "member"), [("m.gguf", None), ("m.whl", "pkg/m.gguf")])
def test_a_file_arrives_whole_with_its_sum(yard: Yard, path: str, member: str | None) -> None:
    result = yard.run(yard.job(path, member, sha256=SHA256, size=len(CONTENT)))
    assert result["files"] == [{"name": "m.gguf", "size": len(CONTENT), "sha256": SHA256}]
    assert (yard.target / "m.gguf").read_bytes() == CONTENT
    assert [entry.name for entry in yard.target.iterdir()] == ["m.gguf"]
    assert yard.lines[-2]["done"] == yard.lines[-2]["total"] == len(CONTENT)


def test_a_second_fetch_of_the_same_file_copies_nothing(yard: Yard) -> None:
    yard.run(yard.job())
    before = (yard.target / "m.gguf").stat().st_mtime_ns
    assert yard.run(yard.job(sha256=SHA256))["step"] == "done"
    assert (yard.target / "m.gguf").stat().st_mtime_ns == before


@pytest.mark.parametrize(("path", "member"), [("m.gguf", None), ("m.whl", "pkg/m.gguf")])
def test_a_cut_off_fetch_goes_on_where_it_was(
    yard: Yard, path: str, member: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = yard.job(path, member, sha256=SHA256)
    monkeypatch.setattr(fetch, "CHUNK_BYTES", 1_000_000)
    real, read = local.Stream.read, []

    def read_three(stream: Any, size: int) -> bytes:
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(size)
        return real(stream, size)

    monkeypatch.setattr(local.Stream, "read", read_three)
    with pytest.raises(KeyboardInterrupt):
        yard.run(job)
    assert not (yard.target / "m.gguf").exists()
    assert (yard.target / ".partial-m.gguf").stat().st_size == 3_000_000
    copied: list[int] = []
    monkeypatch.setattr(local.Stream, "read", lambda *words: (chunk := real(*words), copied.append(len(chunk)))[0])
    assert yard.run(job)["files"][0]["sha256"] == SHA256
    assert sum(copied) == len(CONTENT) - 3_000_000


def test_half_of_another_source_is_not_continued(yard: Yard) -> None:
    yard.target.mkdir()
    (yard.target / ".partial-m.gguf").write_bytes(b"x" * 1000)
    (yard.target / ".partial-m.gguf.source").write_text("another file\n")
    assert yard.run(yard.job())["files"][0]["sha256"] == SHA256


def test_a_wrong_sum_leaves_nothing(yard: Yard) -> None:
    assert yard.refused(yard.job(sha256="0" * 64)) == "checksum"
    assert list(yard.target.iterdir()) == []


def test_a_wrong_size_is_refused_before_copying(yard: Yard) -> None:
    assert yard.refused(yard.job(size=5)) == "checksum"
    assert not yard.target.exists()


def test_a_disk_that_is_too_small_is_seen_before_copying(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "RESERVE_BYTES", 1 << 62)
    assert yard.refused(yard.job()) == "disk_full"
    assert list(yard.target.iterdir()) == []


@pytest.mark.parametrize("name", ["../m.gguf", "/etc/m.gguf", "a/../../m.gguf", "..", ".partial-x", "a\\b", "x\0y"])
def test_no_name_leaves_the_folder(yard: Yard, name: str) -> None:
    assert yard.refused(yard.job(name=name)) == "not_allowed"


def test_a_link_out_of_the_import_folder_is_refused(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (yard.imports / "link").symlink_to(tmp_path / "secret")
    assert yard.refused(yard.job("link")) == "not_allowed"


def test_a_link_out_of_the_models_folder_is_refused(yard: Yard, tmp_path: Path) -> None:
    yard.target.mkdir()
    (yard.target / "m.gguf").symlink_to(tmp_path / "outside")
    assert yard.refused(yard.job()) == "not_allowed"
    assert not (tmp_path / "outside").exists()


def test_a_target_outside_the_models_folder_is_refused(yard: Yard, tmp_path: Path) -> None:
    assert yard.refused({**yard.job(), "target_dir": str(tmp_path / "elsewhere")}) == "not_allowed"


@pytest.mark.parametrize(
    ("path", "member", "code"),
    [
        ("none.gguf", None, "source_missing"),
        ("m.whl", "pkg/none.gguf", "source_missing"),
        ("m.gguf", "pkg/m.gguf", "bad_archive"),
    ],
)
def test_a_source_that_is_not_there_is_named(yard: Yard, path: str, member: str | None, code: str) -> None:
    assert yard.refused(yard.job(path, member)) == code


@pytest.fixture
def open_yard() -> Iterator[Yard]:
    """A yard that any user may walk to and write in."""
    with walkable_folder() as folder:
        yard = Yard(folder)
        yard.models.chmod(0o777)
        yield yard


def told_to_somebody(yard: Yard, job: dict[str, Any]) -> FetchError:
    with somebody(), pytest.raises(FetchError) as failure:
        yard.run(job)
    assert str(yard.imports) not in f"{failure.value} {failure.value.advice}", "the container's own path"
    return failure.value


def as_imported(yard: Yard, name: str, *names: str) -> dict[str, Any]:
    """The job that an import of /srv/my models/`name` makes."""
    job = yard.job(name)
    job["source"]["shown"] = f"/srv/my models/{name}"
    job["files"] = [{"name": one, "sha256": None, "size": None} for one in names or (name,)]
    return job


def test_a_file_that_was_closed_meanwhile_is_told_as_the_person_knows_it(open_yard: Yard) -> None:
    (open_yard.imports / "m.gguf").chmod(0)
    failure = told_to_somebody(open_yard, as_imported(open_yard, "m.gguf"))
    assert failure.code == "source_missing"
    assert str(failure).startswith("/srv/my models/m.gguf cannot be read by ")
    assert failure.advice.endswith(": chmod a+r '/srv/my models/m.gguf'")


@pytest.mark.parametrize("closed", ["m", "m/w.json"])
def test_a_folder_that_was_closed_meanwhile_is_told_as_the_person_knows_it(open_yard: Yard, closed: str) -> None:
    (open_yard.imports / "m").mkdir()
    (open_yard.imports / "m" / "w.json").write_text("{}")
    (open_yard.imports / closed).chmod(0)
    failure = told_to_somebody(open_yard, as_imported(open_yard, "m", "w.json"))
    assert str(failure).startswith(f"/srv/my models/{closed} cannot be ")
    assert failure.advice.endswith(": chmod -R a+rX '/srv/my models/m'")


def test_the_folder_around_it_that_was_closed_meanwhile_is_told_as_the_person_knows_it(open_yard: Yard) -> None:
    open_yard.imports.chmod(0)
    failure = told_to_somebody(open_yard, as_imported(open_yard, "m.gguf"))
    assert str(failure).startswith("/srv/my models cannot be entered")
    assert failure.advice.endswith(": chmod a+x '/srv/my models'")


def test_an_archive_that_was_closed_meanwhile_is_told_as_the_person_knows_it(open_yard: Yard) -> None:
    (open_yard.imports / "m.whl").chmod(0)
    job = as_imported(open_yard, "m.whl", "m.gguf")
    job["source"]["member"] = "pkg/m.gguf"
    assert "chmod a+r '/srv/my models/m.whl'" in told_to_somebody(open_yard, job).advice


def test_a_file_that_is_closed_between_two_looks_is_told_too(open_yard: Yard) -> None:
    job = as_imported(open_yard, "m.gguf")
    source = local.find(job["source"], "m.gguf", open_yard.imports, alone=True)
    source.path.chmod(0)
    with somebody(), pytest.raises(FetchError, match=r"^/srv/my models/m\.gguf cannot be read"), source.open(0):
        pass


@pytest.mark.parametrize("name", ["none.gguf", "away.gguf", "folder"])
def test_what_is_gone_or_leads_away_is_told_as_the_person_knows_it(open_yard: Yard, name: str) -> None:
    (open_yard.imports / "away.gguf").symlink_to("/etc/hostname")
    (open_yard.imports / "folder").mkdir()
    (open_yard.imports / "folder" / "folder").mkdir()
    assert f"/srv/my models/{name}" in str(told_to_somebody(open_yard, as_imported(open_yard, name)))


def test_a_damaged_archive_is_called_that(yard: Yard) -> None:
    whole = bytearray((yard.imports / "m.whl").read_bytes())
    whole[200] ^= 0xFF
    (yard.imports / "m.whl").write_bytes(whole)
    assert yard.refused(yard.job("m.whl", "pkg/m.gguf")) == "bad_archive"
    assert not (yard.target / "m.gguf").exists()


def test_a_folder_gives_several_files(yard: Yard) -> None:
    (yard.imports / "split").mkdir()
    for number in (1, 2):
        (yard.imports / "split" / f"m-{number}.json").write_bytes(CONTENT[:number])
    job = yard.job("split")
    job["files"] = [{"name": f"m-{number}.json", "sha256": None, "size": number} for number in (1, 2)]
    assert [file["size"] for file in yard.run(job)["files"]] == [1, 2]


@pytest.mark.parametrize(
    "change", [{"files": []}, {"files": None}, {"source": {"kind": "ftp"}}, {"target_dir": ""}, {"files": ["x"]}]
)
def test_a_job_made_wrongly_is_called_that(yard: Yard, change: dict[str, Any]) -> None:
    assert yard.refused({**yard.job(), **change}) == "bad_job"


def test_what_was_fetched_is_for_every_user_to_read_whatever_the_umask(
    yard: Yard, umask: Callable[[int], None]
) -> None:
    umask(0o077)
    yard.run(yard.job())
    assert modes(yard.target) == {"7": 0o755, "m.gguf": 0o644}


def test_what_an_earlier_fetch_left_closed_is_opened(yard: Yard) -> None:
    yard.run(yard.job())
    yard.target.chmod(0o700)
    (yard.target / "m.gguf").chmod(0o600)
    yard.run(yard.job(sha256=SHA256))
    assert modes(yard.target) == {"7": 0o755, "m.gguf": 0o644}


def test_files_of_a_folder_keep_their_places_and_get_the_names_they_are_to_have(yard: Yard) -> None:
    (yard.imports / "e" / "1_Pooling").mkdir(parents=True)
    (yard.imports / "e" / "1_Pooling" / "config.json").write_text("{}")
    (yard.imports / "e" / "M-1-OF-1.GGUF").write_bytes(CONTENT)
    job = yard.job("e")
    job["files"] = [
        {"name": "1_Pooling/config.json", "sha256": None, "size": 2},
        {"name": "m.gguf", "from": "M-1-OF-1.GGUF", "sha256": SHA256, "size": None},
    ]
    assert [file["name"] for file in yard.run(job)["files"]] == ["1_Pooling/config.json", "m.gguf"]
    assert (yard.target / "1_Pooling" / "config.json").read_text() == "{}"
    assert (yard.target / "m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("called", ["../m.gguf", "/etc/passwd"])
def test_a_source_name_that_leads_elsewhere_is_refused(yard: Yard, called: str) -> None:
    assert yard.refused(yard.job(**{"from": called})) == "not_allowed"
