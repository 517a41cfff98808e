"""The fetch program on ordinary folders: resume, checks, and that nothing leaves the target."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.tools import fetch, local
from compose.tools.failures import FetchError
from tests.parts.users import somebody, walkable_folder
from tests.tools.conftest import CONTENT, Workspace, modes

SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(("path", "member"), [("m.gguf", None), ("m.whl", "pkg/m.gguf")])
def test_a_file_arrives_whole_with_its_sum(workspace: Workspace, path: str, member: str | None) -> None:
    result = workspace.run(workspace.job(path, member, sha256=SHA256, size=len(CONTENT)))
    assert result["files"] == [{"name": "m.gguf", "size": len(CONTENT), "sha256": SHA256}]
    assert (workspace.target / "m.gguf").read_bytes() == CONTENT
    assert [entry.name for entry in workspace.target.iterdir()] == ["m.gguf"]
    assert workspace.lines[-2]["done"] == workspace.lines[-2]["total"] == len(CONTENT)


def test_a_second_fetch_of_the_same_file_copies_nothing(workspace: Workspace) -> None:
    workspace.run(workspace.job())
    before = (workspace.target / "m.gguf").stat().st_mtime_ns
    assert workspace.run(workspace.job(sha256=SHA256))["step"] == "done"
    assert (workspace.target / "m.gguf").stat().st_mtime_ns == before


@pytest.mark.parametrize(("path", "member"), [("m.gguf", None), ("m.whl", "pkg/m.gguf")])
def test_a_cut_off_fetch_goes_on_where_it_was(
    workspace: Workspace, path: str, member: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = workspace.job(path, member, sha256=SHA256)
    monkeypatch.setattr(fetch, "CHUNK_BYTES", 1_000_000)
    real, read = local.Stream.read, []

    def read_three(stream: Any, size: int) -> bytes:
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(size)
        return real(stream, size)

    monkeypatch.setattr(local.Stream, "read", read_three)
    with pytest.raises(KeyboardInterrupt):
        workspace.run(job)
    assert not (workspace.target / "m.gguf").exists()
    assert (workspace.target / ".partial-m.gguf").stat().st_size == 3_000_000
    copied: list[int] = []
    monkeypatch.setattr(local.Stream, "read", lambda *words: (chunk := real(*words), copied.append(len(chunk)))[0])
    assert workspace.run(job)["files"][0]["sha256"] == SHA256
    assert sum(copied) == len(CONTENT) - 3_000_000


def test_half_of_another_source_is_not_continued(workspace: Workspace) -> None:
    workspace.target.mkdir()
    (workspace.target / ".partial-m.gguf").write_bytes(b"x" * 1000)
    (workspace.target / ".partial-m.gguf.source").write_text("another file\n")
    assert workspace.run(workspace.job())["files"][0]["sha256"] == SHA256


def test_a_wrong_sum_leaves_nothing(workspace: Workspace) -> None:
    assert workspace.refused(workspace.job(sha256="0" * 64)) == "checksum"
    assert list(workspace.target.iterdir()) == []


def test_a_wrong_size_is_refused_before_copying(workspace: Workspace) -> None:
    assert workspace.refused(workspace.job(size=5)) == "checksum"
    assert not workspace.target.exists()


def test_a_disk_that_is_too_small_is_seen_before_copying(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "RESERVE_BYTES", 1 << 62)
    assert workspace.refused(workspace.job()) == "disk_full"
    assert list(workspace.target.iterdir()) == []


@pytest.mark.parametrize("name", ["../m.gguf", "/etc/m.gguf", "a/../../m.gguf", "..", ".partial-x", "a\\b", "x\0y"])
def test_no_name_leaves_the_folder(workspace: Workspace, name: str) -> None:
    assert workspace.refused(workspace.job(name=name)) == "not_allowed"


def test_a_link_out_of_the_import_folder_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (workspace.imports / "link").symlink_to(tmp_path / "secret")
    assert workspace.refused(workspace.job("link")) == "not_allowed"


def test_a_link_out_of_the_models_folder_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    workspace.target.mkdir()
    (workspace.target / "m.gguf").symlink_to(tmp_path / "outside")
    assert workspace.refused(workspace.job()) == "not_allowed"
    assert not (tmp_path / "outside").exists()


def test_a_target_outside_the_models_folder_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    assert workspace.refused({**workspace.job(), "target_dir": str(tmp_path / "elsewhere")}) == "not_allowed"


@pytest.mark.parametrize(
    ("path", "member", "code"),
    [
        ("none.gguf", None, "source_missing"),
        ("m.whl", "pkg/none.gguf", "source_missing"),
        ("m.gguf", "pkg/m.gguf", "bad_archive"),
    ],
)
def test_a_source_that_is_not_there_is_named(workspace: Workspace, path: str, member: str | None, code: str) -> None:
    assert workspace.refused(workspace.job(path, member)) == code


@pytest.fixture
def open_workspace() -> Iterator[Workspace]:
    """A workspace that any user may walk to and write in."""
    with walkable_folder() as folder:
        workspace = Workspace(folder)
        workspace.models.chmod(0o777)
        yield workspace


def told_to_somebody(workspace: Workspace, job: dict[str, Any]) -> FetchError:
    with somebody(), pytest.raises(FetchError) as failure:
        workspace.run(job)
    assert str(workspace.imports) not in f"{failure.value} {failure.value.advice}", "the container's own path"
    return failure.value


def as_imported(workspace: Workspace, name: str, *names: str) -> dict[str, Any]:
    """The job that an import of /srv/my models/`name` makes."""
    job = workspace.job(name)
    job["source"]["shown"] = f"/srv/my models/{name}"
    job["files"] = [{"name": one, "sha256": None, "size": None} for one in names or (name,)]
    return job


def test_a_file_that_was_closed_meanwhile_is_told_as_the_person_knows_it(open_workspace: Workspace) -> None:
    (open_workspace.imports / "m.gguf").chmod(0)
    failure = told_to_somebody(open_workspace, as_imported(open_workspace, "m.gguf"))
    assert failure.code == "source_missing"
    assert str(failure).startswith("/srv/my models/m.gguf cannot be read by ")
    assert failure.advice.endswith(": chmod a+r '/srv/my models/m.gguf'")


@pytest.mark.parametrize("closed", ["m", "m/w.json"])
def test_a_folder_that_was_closed_meanwhile_is_told_as_the_person_knows_it(
    open_workspace: Workspace, closed: str
) -> None:
    (open_workspace.imports / "m").mkdir()
    (open_workspace.imports / "m" / "w.json").write_text("{}")
    (open_workspace.imports / closed).chmod(0)
    failure = told_to_somebody(open_workspace, as_imported(open_workspace, "m", "w.json"))
    assert str(failure).startswith(f"/srv/my models/{closed} cannot be ")
    assert failure.advice.endswith(": chmod -R a+rX '/srv/my models/m'")


def test_a_folder_around_it_that_was_closed_is_told_as_the_person_knows_it(
    open_workspace: Workspace,
) -> None:
    open_workspace.imports.chmod(0)
    failure = told_to_somebody(open_workspace, as_imported(open_workspace, "m.gguf"))
    assert str(failure).startswith("/srv/my models cannot be entered")
    assert failure.advice.endswith(": chmod a+x '/srv/my models'")


def test_an_archive_that_was_closed_meanwhile_is_told_as_the_person_knows_it(open_workspace: Workspace) -> None:
    (open_workspace.imports / "m.whl").chmod(0)
    job = as_imported(open_workspace, "m.whl", "m.gguf")
    job["source"]["member"] = "pkg/m.gguf"
    assert "chmod a+r '/srv/my models/m.whl'" in told_to_somebody(open_workspace, job).advice


def test_a_file_that_is_closed_between_two_looks_is_told_too(open_workspace: Workspace) -> None:
    job = as_imported(open_workspace, "m.gguf")
    source = local.find(job["source"], "m.gguf", open_workspace.imports, alone=True)
    source.path.chmod(0)
    with somebody(), pytest.raises(FetchError, match=r"^/srv/my models/m\.gguf cannot be read"), source.open(0):
        pass


@pytest.mark.parametrize("name", ["none.gguf", "away.gguf", "folder"])
def test_what_is_gone_or_leads_away_is_told_as_the_person_knows_it(open_workspace: Workspace, name: str) -> None:
    (open_workspace.imports / "away.gguf").symlink_to("/etc/hostname")
    (open_workspace.imports / "folder").mkdir()
    (open_workspace.imports / "folder" / "folder").mkdir()
    assert f"/srv/my models/{name}" in str(told_to_somebody(open_workspace, as_imported(open_workspace, name)))


def test_a_damaged_archive_is_called_that(workspace: Workspace) -> None:
    whole = bytearray((workspace.imports / "m.whl").read_bytes())
    whole[200] ^= 0xFF
    (workspace.imports / "m.whl").write_bytes(whole)
    assert workspace.refused(workspace.job("m.whl", "pkg/m.gguf")) == "bad_archive"
    assert not (workspace.target / "m.gguf").exists()


def test_a_folder_gives_several_files(workspace: Workspace) -> None:
    (workspace.imports / "split").mkdir()
    for number in (1, 2):
        (workspace.imports / "split" / f"m-{number}.json").write_bytes(CONTENT[:number])
    job = workspace.job("split")
    job["files"] = [{"name": f"m-{number}.json", "sha256": None, "size": number} for number in (1, 2)]
    assert [file["size"] for file in workspace.run(job)["files"]] == [1, 2]


@pytest.mark.parametrize(
    "change", [{"files": []}, {"files": None}, {"source": {"kind": "ftp"}}, {"target_dir": ""}, {"files": ["x"]}]
)
def test_a_job_made_wrongly_is_called_that(workspace: Workspace, change: dict[str, Any]) -> None:
    assert workspace.refused({**workspace.job(), **change}) == "bad_job"


def test_what_was_fetched_is_for_every_user_to_read_whatever_the_umask(
    workspace: Workspace, umask: Callable[[int], None]
) -> None:
    umask(0o077)
    workspace.run(workspace.job())
    assert modes(workspace.target) == {"7": 0o755, "m.gguf": 0o644}


def test_what_an_earlier_fetch_left_closed_is_opened(workspace: Workspace) -> None:
    workspace.run(workspace.job())
    workspace.target.chmod(0o700)
    (workspace.target / "m.gguf").chmod(0o600)
    workspace.run(workspace.job(sha256=SHA256))
    assert modes(workspace.target) == {"7": 0o755, "m.gguf": 0o644}


def test_files_of_a_folder_keep_their_places_and_get_the_names_they_are_to_have(workspace: Workspace) -> None:
    (workspace.imports / "e" / "1_Pooling").mkdir(parents=True)
    (workspace.imports / "e" / "1_Pooling" / "config.json").write_text("{}")
    (workspace.imports / "e" / "M-1-OF-1.GGUF").write_bytes(CONTENT)
    job = workspace.job("e")
    job["files"] = [
        {"name": "1_Pooling/config.json", "sha256": None, "size": 2},
        {"name": "m.gguf", "from": "M-1-OF-1.GGUF", "sha256": SHA256, "size": None},
    ]
    assert [file["name"] for file in workspace.run(job)["files"]] == ["1_Pooling/config.json", "m.gguf"]
    assert (workspace.target / "1_Pooling" / "config.json").read_text() == "{}"
    assert (workspace.target / "m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("called", ["../m.gguf", "/etc/passwd"])
def test_a_source_name_that_leads_elsewhere_is_refused(workspace: Workspace, called: str) -> None:
    assert workspace.refused(workspace.job(**{"from": called})) == "not_allowed"
