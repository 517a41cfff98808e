"""The fetch program against a small hub: resume, versions, refusals in words, and where it may connect to."""

import hashlib
from typing import Any

import pytest

from compose.tools import fetch
from tests.catalog.gguf_file import gguf_bytes
from tests.parts.hub import COMMIT, TOKEN, Hub, git_sha1
from tests.tools.conftest import CONTENT, Workspace

SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(hub: Hub) -> str:
    return f"{hub.url}/plain/m.gguf"


def test_a_file_arrives_with_its_sum_its_progress_and_its_speed(workspace: Workspace, url: str) -> None:
    result = workspace.run(workspace.web_job(url, sha256=SHA256, size=len(CONTENT)))
    assert result["files"] == [{"name": "m.gguf", "size": len(CONTENT), "sha256": SHA256}]
    assert (workspace.target / "m.gguf").read_bytes() == CONTENT
    assert workspace.names() == ["m.gguf"]
    assert workspace.lines[-2]["done"] == workspace.lines[-2]["total"] == len(CONTENT)


@pytest.mark.parametrize("pinned", [True, False], ids=["by its sum", "by its etag"])
def test_a_broken_line_is_taken_up_where_it_broke(workspace: Workspace, hub: Hub, url: str, pinned: bool) -> None:
    hub.cut_after = 3_000_000
    job = workspace.web_job(url, **({"sha256": SHA256} if pinned else {}))
    assert workspace.run(job)["files"][0]["sha256"] == SHA256
    assert hub.sent_bytes == len(CONTENT)
    assert [line["step"] for line in workspace.lines].count("waiting") == len(workspace.slept) == 3
    assert all("Range" in headers for _path, headers in hub.asked[1:])


def test_a_file_of_unknown_length_arrives_whole(workspace: Workspace, hub: Hub, url: str) -> None:
    hub.has_length = False
    assert workspace.run(workspace.web_job(url))["files"][0]["sha256"] == SHA256
    assert workspace.lines[0]["total"] is None


def test_a_place_without_ranges_is_asked_for_all_of_it_again(workspace: Workspace, hub: Hub, url: str) -> None:
    workspace.target.mkdir()
    (workspace.target / ".partial-m.gguf").write_bytes(CONTENT[:1_000_000])
    (workspace.target / ".partial-m.gguf.source").write_text(url + "\n")
    hub.has_ranges = False
    assert workspace.run(workspace.web_job(url, sha256=SHA256))["files"][0]["sha256"] == SHA256


def test_half_of_an_older_version_is_not_continued(workspace: Workspace, hub: Hub, url: str) -> None:
    workspace.target.mkdir()
    (workspace.target / ".partial-m.gguf").write_bytes(b"x" * 1_000_000)
    (workspace.target / ".partial-m.gguf.source").write_text(f'{url}\n"an older etag"')
    assert workspace.run(workspace.web_job(url))["files"][0]["sha256"] == SHA256


def test_a_part_that_went_bad_on_the_disk_is_fetched_anew_once(workspace: Workspace, hub: Hub, url: str) -> None:
    workspace.target.mkdir()
    (workspace.target / ".partial-m.gguf").write_bytes(b"\0" * 1_000_000)
    (workspace.target / ".partial-m.gguf.source").write_text(url + "\n")
    assert workspace.run(workspace.web_job(url, sha256=SHA256))["files"][0]["sha256"] == SHA256
    assert hub.sent_bytes == 2 * len(CONTENT) - 1_000_000


def test_a_part_longer_than_the_file_is_fetched_anew(workspace: Workspace, url: str) -> None:
    workspace.target.mkdir()
    (workspace.target / ".partial-m.gguf").write_bytes(CONTENT + b"more")
    (workspace.target / ".partial-m.gguf.source").write_text(f'{url}\n"{git_sha1(CONTENT)}"')
    assert workspace.run(workspace.web_job(url))["files"][0]["sha256"] == SHA256


@pytest.mark.parametrize("entry", [{"sha256": SHA256}, {"git_sha1": git_sha1(CONTENT), "size": len(CONTENT)}])
def test_one_byte_flipped_on_the_way_is_refused_and_nothing_is_visible(
    workspace: Workspace, hub: Hub, url: str, entry: dict[str, Any]
) -> None:
    hub.flip_at = 5_000_000
    assert workspace.refused(workspace.web_job(url, **entry)) == "checksum"
    assert workspace.names() == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_asked_again(workspace: Workspace, hub: Hub, url: str, status: int) -> None:
    hub.statuses = [status, status]
    assert workspace.run(workspace.web_job(url))["step"] == "done"
    assert workspace.slept == [1.0, 2.0]


def test_a_wait_that_is_asked_for_is_kept(workspace: Workspace, hub: Hub, url: str) -> None:
    hub.statuses, hub.retry_after = [429], "17"
    workspace.run(workspace.web_job(url))
    assert workspace.slept == [17.0]
    assert "Trying again in 17 s" in workspace.lines[0]["message"]


def test_a_place_that_stays_away_ends_the_job_and_what_came_is_kept(workspace: Workspace, hub: Hub, url: str) -> None:
    hub.cut_after = 1_000_000
    job = workspace.web_job(url, sha256=SHA256)
    fails_from_now = workspace.slept.append

    def sleep(seconds: float) -> None:
        hub.statuses = [503]
        fails_from_now(seconds)

    setting = fetch.Setting(workspace.lines.append, workspace.imports, workspace.models, {}, sleep)
    with pytest.raises(fetch.FetchError) as failure:
        fetch.run(job, setting)
    assert (failure.value.code, failure.value.keeps) == ("unreachable", True)
    assert (workspace.target / ".partial-m.gguf").stat().st_size == 1_000_000
    assert not (workspace.target / "m.gguf").exists()


@pytest.mark.parametrize(("status", "code", "words"), [(401, "not_allowed", "token"), (404, "source_missing", "moved")])
def test_a_refusal_says_what_to_do(
    workspace: Workspace, hub: Hub, url: str, status: int, code: str, words: str
) -> None:
    hub.statuses = [status]
    with pytest.raises(fetch.FetchError) as failure:
        workspace.run(workspace.web_job(url))
    assert failure.value.code == code
    assert words in failure.value.advice


def test_gated_files_say_that_their_terms_must_be_accepted(workspace: Workspace, hub: Hub) -> None:
    hub.add("meta/gated", {"m.gguf": CONTENT}, gated="manual")
    job = workspace.web_job(f"{hub.url}/meta/gated/resolve/{COMMIT}/m.gguf")
    with pytest.raises(fetch.FetchError, match="accepted its terms"):
        workspace.run(job)
    workspace.secrets = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
    assert workspace.run(job)["files"][0]["sha256"] == SHA256


def test_the_token_stays_with_the_hub_when_it_redirects_elsewhere(workspace: Workspace, hub: Hub) -> None:
    hub.add("org/model", {"m.gguf": CONTENT})
    hub.redirect_to = f"http://localhost:{hub.port}/cdn/{SHA256}"
    job = workspace.web_job(f"{hub.url}/org/model/resolve/{COMMIT}/m.gguf", sha256=SHA256)
    job["source"]["policy"] = {"hosts": ["127.0.0.1", "localhost"]}
    workspace.secrets = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
    workspace.run(job)
    assert ["Authorization" in headers for _path, headers in hub.asked] == [True, False]


def test_a_pickle_with_a_good_name_is_refused(workspace: Workspace, hub: Hub) -> None:
    import pickle

    hub.add("plain/files", {"m": pickle.dumps({"weights": [1.0] * 5000}), "zip": b"PK\x03\x04" + b"x" * 5000})
    for path, name in [("m", "model.safetensors"), ("zip", "model.safetensors"), ("m", "m.gguf"), ("m", "vocab.json")]:
        assert workspace.refused(workspace.web_job(f"{hub.url}/plain/{path}", name=name)) == "not_a_model"
        assert name not in workspace.names()


def test_a_half_model_is_refused_though_its_length_is_right(workspace: Workspace, hub: Hub) -> None:
    hub.add("plain/files", {"half.gguf": gguf_bytes()[:-64]})
    assert workspace.refused(workspace.web_job(f"{hub.url}/plain/half.gguf")) == "not_a_model"
    assert workspace.refused(workspace.web_job(f"{hub.url}/plain/half.gguf", name="half.GGUF")) == "not_a_model"


def test_several_files_count_as_one_job(workspace: Workspace, hub: Hub) -> None:
    hub.add("plain/files", {"a.json": b"{}", "sub/b.json": b"[1]"})
    job = workspace.web_job(f"{hub.url}/plain/a.json", name="a.json", size=2)
    job["files"].append({"name": "sub/b.json", "url": f"{hub.url}/plain/sub/b.json", "size": 3})
    assert [file["size"] for file in workspace.run(job)["files"]] == [2, 3]
    assert workspace.lines[-1]["done"] == 5


def test_a_private_address_is_not_asked_unless_an_admin_allowed_it(workspace: Workspace, hub: Hub, url: str) -> None:
    job = workspace.web_job(url)
    for policy in ({}, {"allows_http": True}, {"networks": ["10.0.0.0/8"], "allows_http": True}):
        job["source"]["policy"] = policy
        assert workspace.refused(job) == "not_allowed"
    assert hub.asked == []
    job["source"]["policy"] = {"networks": ["127.0.0.0/8"], "allows_http": True}
    assert workspace.run(job)["step"] == "done"


def test_a_redirect_to_a_private_address_is_not_followed(workspace: Workspace, hub: Hub) -> None:
    hub.add("org/model", {"m.gguf": CONTENT})
    hub.redirect_to = f"http://localhost:{hub.port}/cdn/{SHA256}"
    assert workspace.refused(workspace.web_job(f"{hub.url}/org/model/resolve/{COMMIT}/m.gguf")) == "not_allowed"
    assert len(hub.asked) == 1


def test_a_file_of_another_length_than_announced_is_refused_before_it_is_fetched(
    workspace: Workspace, hub: Hub, url: str
) -> None:
    assert workspace.refused(workspace.web_job(url, size=len(CONTENT) - 1)) == "checksum"
    assert hub.sent_bytes < 1_000_000 or workspace.names() == [".partial-m.gguf", ".partial-m.gguf.source"]


def test_a_hub_that_lies_about_its_length_cannot_fill_the_disk(workspace: Workspace, hub: Hub, url: str) -> None:
    hub.has_length = False
    assert workspace.refused(workspace.web_job(url, size=1000)) == "checksum"
    assert sum(path.stat().st_size for path in workspace.target.iterdir() if path.is_file()) < 2 * fetch.CHUNK_BYTES
