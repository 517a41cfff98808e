"""The fetch program against a small hub: resume, versions, refusals in words, and where it may connect to."""

import hashlib
from typing import Any

import pytest

from compose.tools import fetch
from tests.catalog.gguf_file import gguf_bytes
from tests.parts.hub import COMMIT, TOKEN, Hub, git_sha1
from tests.tools.conftest import CONTENT, Yard

SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(hub: Hub) -> str:
    return f"{hub.url}/plain/m.gguf"


def test_a_file_arrives_with_its_sum_its_progress_and_its_speed(yard: Yard, url: str) -> None:
    result = yard.run(yard.web_job(url, sha256=SHA256, size=len(CONTENT)))
    assert result["files"] == [{"name": "m.gguf", "size": len(CONTENT), "sha256": SHA256}]
    assert (yard.target / "m.gguf").read_bytes() == CONTENT
    assert yard.names() == ["m.gguf"]
    assert yard.lines[-2]["done"] == yard.lines[-2]["total"] == len(CONTENT)


@pytest.mark.parametrize("pinned", [True, False], ids=["by its sum", "by its etag"])
def test_a_broken_line_is_taken_up_where_it_broke(yard: Yard, hub: Hub, url: str, pinned: bool) -> None:
    hub.cut_after = 3_000_000
    job = yard.web_job(url, **({"sha256": SHA256} if pinned else {}))
    assert yard.run(job)["files"][0]["sha256"] == SHA256
    assert hub.sent_bytes == len(CONTENT)
    assert [line["step"] for line in yard.lines].count("waiting") == len(yard.slept) == 3
    assert all("Range" in headers for _path, headers in hub.asked[1:])


def test_a_file_of_unknown_length_arrives_whole(yard: Yard, hub: Hub, url: str) -> None:
    hub.has_length = False
    assert yard.run(yard.web_job(url))["files"][0]["sha256"] == SHA256
    assert yard.lines[0]["total"] is None


def test_a_place_without_ranges_is_asked_for_all_of_it_again(yard: Yard, hub: Hub, url: str) -> None:
    yard.target.mkdir()
    (yard.target / ".partial-m.gguf").write_bytes(CONTENT[:1_000_000])
    (yard.target / ".partial-m.gguf.source").write_text(url + "\n")
    hub.has_ranges = False
    assert yard.run(yard.web_job(url, sha256=SHA256))["files"][0]["sha256"] == SHA256


def test_half_of_an_older_version_is_not_continued(yard: Yard, hub: Hub, url: str) -> None:
    yard.target.mkdir()
    (yard.target / ".partial-m.gguf").write_bytes(b"x" * 1_000_000)
    (yard.target / ".partial-m.gguf.source").write_text(f'{url}\n"an older etag"')
    assert yard.run(yard.web_job(url))["files"][0]["sha256"] == SHA256


def test_a_part_that_went_bad_on_the_disk_is_fetched_anew_once(yard: Yard, hub: Hub, url: str) -> None:
    yard.target.mkdir()
    (yard.target / ".partial-m.gguf").write_bytes(b"\0" * 1_000_000)
    (yard.target / ".partial-m.gguf.source").write_text(url + "\n")
    assert yard.run(yard.web_job(url, sha256=SHA256))["files"][0]["sha256"] == SHA256
    assert hub.sent_bytes == 2 * len(CONTENT) - 1_000_000


def test_a_part_longer_than_the_file_is_fetched_anew(yard: Yard, url: str) -> None:
    yard.target.mkdir()
    (yard.target / ".partial-m.gguf").write_bytes(CONTENT + b"more")
    (yard.target / ".partial-m.gguf.source").write_text(f'{url}\n"{git_sha1(CONTENT)}"')
    assert yard.run(yard.web_job(url))["files"][0]["sha256"] == SHA256


@pytest.mark.parametrize("entry", [{"sha256": SHA256}, {"git_sha1": git_sha1(CONTENT), "size": len(CONTENT)}])
def test_one_byte_flipped_on_the_way_is_refused_and_nothing_is_visible(
    yard: Yard, hub: Hub, url: str, entry: dict[str, Any]
) -> None:
    hub.flip_at = 5_000_000
    assert yard.refused(yard.web_job(url, **entry)) == "checksum"
    assert yard.names() == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_asked_again(yard: Yard, hub: Hub, url: str, status: int) -> None:
    hub.statuses = [status, status]
    assert yard.run(yard.web_job(url))["step"] == "done"
    assert yard.slept == [1.0, 2.0]


def test_a_wait_that_is_asked_for_is_kept(yard: Yard, hub: Hub, url: str) -> None:
    hub.statuses, hub.retry_after = [429], "17"
    yard.run(yard.web_job(url))
    assert yard.slept == [17.0]
    assert "Trying again in 17 s" in yard.lines[0]["message"]


def test_a_place_that_stays_away_ends_the_job_and_what_came_is_kept(yard: Yard, hub: Hub, url: str) -> None:
    hub.cut_after = 1_000_000
    job = yard.web_job(url, sha256=SHA256)
    fails_from_now = yard.slept.append

    def sleep(seconds: float) -> None:
        hub.statuses = [503]
        fails_from_now(seconds)

    setting = fetch.Setting(yard.lines.append, yard.imports, yard.models, {}, sleep)
    with pytest.raises(fetch.FetchError) as failure:
        fetch.run(job, setting)
    assert (failure.value.code, failure.value.keeps) == ("unreachable", True)
    assert (yard.target / ".partial-m.gguf").stat().st_size == 1_000_000
    assert not (yard.target / "m.gguf").exists()


@pytest.mark.parametrize(("status", "code", "words"), [(401, "not_allowed", "token"), (404, "source_missing", "moved")])
def test_a_refusal_says_what_to_do(yard: Yard, hub: Hub, url: str, status: int, code: str, words: str) -> None:
    hub.statuses = [status]
    with pytest.raises(fetch.FetchError) as failure:
        yard.run(yard.web_job(url))
    assert failure.value.code == code
    assert words in failure.value.advice


def test_gated_files_say_that_their_terms_must_be_accepted(yard: Yard, hub: Hub) -> None:
    hub.add("meta/gated", {"m.gguf": CONTENT}, gated="manual")
    job = yard.web_job(f"{hub.url}/meta/gated/resolve/{COMMIT}/m.gguf")
    with pytest.raises(fetch.FetchError, match="accepted its terms"):
        yard.run(job)
    yard.secrets = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
    assert yard.run(job)["files"][0]["sha256"] == SHA256


def test_the_token_stays_with_the_hub_when_it_redirects_elsewhere(yard: Yard, hub: Hub) -> None:
    hub.add("org/model", {"m.gguf": CONTENT})
    hub.redirect_to = f"http://localhost:{hub.port}/cdn/{SHA256}"
    job = yard.web_job(f"{hub.url}/org/model/resolve/{COMMIT}/m.gguf", sha256=SHA256)
    job["source"]["policy"] = {"hosts": ["127.0.0.1", "localhost"]}
    yard.secrets = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
    yard.run(job)
    assert ["Authorization" in headers for _path, headers in hub.asked] == [True, False]


def test_a_pickle_with_a_good_name_is_refused(yard: Yard, hub: Hub) -> None:
    import pickle

    hub.add("plain/files", {"m": pickle.dumps({"weights": [1.0] * 5000}), "zip": b"PK\x03\x04" + b"x" * 5000})
    for path, name in [("m", "model.safetensors"), ("zip", "model.safetensors"), ("m", "m.gguf"), ("m", "vocab.json")]:
        assert yard.refused(yard.web_job(f"{hub.url}/plain/{path}", name=name)) == "not_a_model"
        assert name not in yard.names()


def test_a_half_model_is_refused_though_its_length_is_right(yard: Yard, hub: Hub) -> None:
    hub.add("plain/files", {"half.gguf": gguf_bytes()[:-64]})
    assert yard.refused(yard.web_job(f"{hub.url}/plain/half.gguf")) == "not_a_model"
    assert yard.refused(yard.web_job(f"{hub.url}/plain/half.gguf", name="half.GGUF")) == "not_a_model"


def test_several_files_count_as_one_job(yard: Yard, hub: Hub) -> None:
    hub.add("plain/files", {"a.json": b"{}", "sub/b.json": b"[1]"})
    job = yard.web_job(f"{hub.url}/plain/a.json", name="a.json", size=2)
    job["files"].append({"name": "sub/b.json", "url": f"{hub.url}/plain/sub/b.json", "size": 3})
    assert [file["size"] for file in yard.run(job)["files"]] == [2, 3]
    assert yard.lines[-1]["done"] == 5


def test_a_private_address_is_not_asked_unless_an_admin_allowed_it(yard: Yard, hub: Hub, url: str) -> None:
    job = yard.web_job(url)
    for policy in ({}, {"allows_http": True}, {"networks": ["10.0.0.0/8"], "allows_http": True}):
        job["source"]["policy"] = policy
        assert yard.refused(job) == "not_allowed"
    assert hub.asked == []
    job["source"]["policy"] = {"networks": ["127.0.0.0/8"], "allows_http": True}
    assert yard.run(job)["step"] == "done"


def test_a_redirect_to_a_private_address_is_not_followed(yard: Yard, hub: Hub) -> None:
    hub.add("org/model", {"m.gguf": CONTENT})
    hub.redirect_to = f"http://localhost:{hub.port}/cdn/{SHA256}"
    assert yard.refused(yard.web_job(f"{hub.url}/org/model/resolve/{COMMIT}/m.gguf")) == "not_allowed"
    assert len(hub.asked) == 1


def test_a_file_of_another_length_than_announced_is_refused_before_it_is_fetched(
    yard: Yard, hub: Hub, url: str
) -> None:
    assert yard.refused(yard.web_job(url, size=len(CONTENT) - 1)) == "checksum"
    assert hub.sent_bytes < 1_000_000 or yard.names() == [".partial-m.gguf", ".partial-m.gguf.source"]


def test_a_hub_that_lies_about_its_length_cannot_fill_the_disk(yard: Yard, hub: Hub, url: str) -> None:
    hub.has_length = False
    assert yard.refused(yard.web_job(url, size=1000)) == "checksum"
    assert sum(path.stat().st_size for path in yard.target.iterdir() if path.is_file()) < 2 * fetch.CHUNK_BYTES
