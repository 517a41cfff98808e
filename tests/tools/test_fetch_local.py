"""The fetch program on ordinary folders: resume, checks, and that nothing leaves the target."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from compose.tools import fetch, local
from tests.tools.conftest import CONTENT, Yard

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
