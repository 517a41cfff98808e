"""A quantising job's folder: made with what it needs, published whole or not at all, taken away without others'."""

import errno
import hashlib
import json
import shutil
from collections import namedtuple

import pytest

from compose.tools import staging
from compose.tools.failures import FetchError
from tests.catalog.gguf_file import gguf_bytes, write_gguf
from tests.catalog.safetensors_file import CONFIG, safetensors_bytes
from tests.tools.conftest import modes

WORK = ".work/job-7"


@pytest.fixture
def models(tmp_path):
    """A models volume with a source, number 3."""
    (tmp_path / "3").mkdir()
    write_gguf(tmp_path / "3" / "tiny.gguf")
    return tmp_path


def order(models, **more):
    files = [{"name": "tiny.gguf", "size_bytes": len(gguf_bytes())}]
    return {"work": WORK, "source": str(models / "3"), "files": files, "needed_bytes": 1, **more}


@pytest.fixture
def made(models):
    """As the quantiser leaves it."""
    staging.prepare(order(models), {"calibration.txt": "Some text."}, models)
    (models / WORK / "out").mkdir()
    write_gguf(models / WORK / "out" / "small.gguf")
    return models


def publish(models, number=12):
    return staging.publish({"work": WORK, "artifact": number}, models)


def test_prepare_brings_the_texts(made):
    assert (made / WORK / "calibration.txt").read_text() == "Some text."


def test_files_in_folders_of_the_source_are_looked_at_where_they_are(models):
    (models / "3" / "1_Pooling").mkdir()
    (models / "3" / "1_Pooling" / "config.json").write_text("{}")
    job = order(models)
    job["files"].append({"name": "1_Pooling/config.json", "size_bytes": 2})
    staging.prepare(job, {}, models)


@pytest.mark.parametrize("size", [1, 10**9])
def test_a_source_that_changed_is_refused(models, size):
    job = order(models, files=[{"name": "tiny.gguf", "size_bytes": size}])
    with pytest.raises(FetchError) as refused:
        staging.prepare(job, {}, models)
    assert refused.value.code == "bad_source"


def test_a_disk_without_room_is_told_before_the_work(models):
    with pytest.raises(FetchError) as refused:
        staging.prepare(order(models, needed_bytes=10**18), {}, models)
    assert refused.value.code == "disk_full" and "1,000,000,000,000,000,000" in str(refused.value)


def test_a_full_disk_is_told_in_words(models, monkeypatch):
    def full(*arguments, **words):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging.Path, "write_text", full)
    with pytest.raises(FetchError) as refused:
        staging.prepare(order(models), {"calibration.txt": "x"}, models)
    assert refused.value.code == "disk_full"


def test_what_stands_behind_an_embedding_model_goes_with_its_new_weights(models):
    source, out = models / "3", models / WORK / "out"
    staging.prepare(order(models), {}, models)
    listed = [{"path": "", "type": "m.Transformer"}, {"path": "1_Pooling", "type": "m.Pooling"}]
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (source / "modules.json").write_text(json.dumps(listed))
    (source / "tokenizer.json").write_text("old")
    out.mkdir()
    (out / "config.json").write_text(json.dumps(CONFIG))
    (out / "model.safetensors").write_bytes(safetensors_bytes())
    said = staging.publish({"work": WORK, "artifact": 12, "source": str(source)}, models)
    names = ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json"]
    assert [file["name"] for file in said["files"]] == names
    assert (models / "12" / "1_Pooling" / "config.json").read_text() == '{"pooling_mode_cls_token": true}'


def test_publish_gives_the_folder_its_place_and_says_what_is_in_it(made):
    said = publish(made)
    assert (made / "12" / "small.gguf").exists() and not (made / WORK).exists()
    assert said["files"] == [
        {"name": "small.gguf", "size": len(gguf_bytes()), "sha256": hashlib.sha256(gguf_bytes()).hexdigest()}
    ]
    assert (said["format"], said["main_file"], said["facts"]["architecture"]) == ("gguf", "small.gguf", "llama")


def test_what_is_published_is_for_every_user_to_read(made):
    """safetensors 0.8 writes for the owner alone, and engines with AMD's and Intel's cards run as another user."""
    (made / WORK / "out").chmod(0o700)
    (made / WORK / "out" / "small.gguf").chmod(0o600)
    (made / WORK / "out" / "original").mkdir(mode=0o700)
    publish(made)
    assert modes(made / "12") == {"12": 0o755, "original": 0o755, "small.gguf": 0o644}


def test_prepare_makes_what_every_step_may_read(models, umask):
    umask(0o077)
    staging.prepare(order(models), {"calibration.txt": "Some text."}, models)
    assert modes(models / WORK) == {"job-7": 0o755, "calibration.txt": 0o644}
    assert modes(models / ".work")[".work"] == 0o755


def test_publish_after_a_death_behind_the_rename_says_the_same(made, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_sync", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(made)
    assert (made / "12").exists() and (made / WORK).exists()
    assert publish(made)["files"][0]["name"] == "small.gguf"
    assert publish(made)["main_file"] == "small.gguf", "and once more"


def test_a_place_that_is_taken_is_left_alone(made):
    with pytest.raises(FetchError):
        publish(made, 3)
    staging.remove({"work": WORK, "artifact": 3}, made)
    assert (made / "3" / "tiny.gguf").exists() and not (made / WORK).exists()


def test_a_broken_result_is_not_published(made):
    (made / WORK / "out" / "small.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(FetchError, match="no sound model"):
        publish(made)
    assert not (made / "12").exists()


@pytest.mark.parametrize("has_died", [True, False])
def test_remove_takes_the_result_that_no_row_knows(made, has_died):
    publish(made)
    if has_died:
        (made / WORK).mkdir(parents=True)
        (made / WORK / staging.MARK).touch()
    staging.remove({"work": WORK, "artifact": 12}, made)
    assert not (made / "12").exists() and not (made / WORK).exists() and (made / "3").exists()


@pytest.mark.parametrize("name", ["", "3", ".work", ".work/job-7/..", "../job-7", ".work/job-x"])
def test_only_a_jobs_own_folder_is_touched(models, name):
    for verb in (staging.remove, staging.publish):
        with pytest.raises(FetchError):
            verb({"work": name, "artifact": 12}, models)


def test_a_disk_is_measured_where_the_work_is(models, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    seen = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: (seen.append(path), Usage(10, 5, 5))[1])
    assert staging.prepare(order(models), {}, models) == {"free_bytes": 5} and seen == [models / WORK]
