"""Hubs through the real library: what they have, what they refuse, and that nothing else is asked."""

import pytest

from tests.catalog.gguf_file import gguf_bytes
from tests.catalog.safetensors_file import CONFIG, index_bytes, safetensors_bytes
from tests.parts.hub import COMMIT, TOKEN
from webapp.accounts.models import AuditEntry
from webapp.catalog import hubs, services
from webapp.catalog.inspecting import inspect_repo, offer
from webapp.catalog.models import Artifact, Hub
from webapp.foundation.errors import Conflict, Invalid, NotAllowed, ServiceError, Unavailable
from webapp.jobs import fetching
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db

BIG = {"token_embd.weight": (32, 1000)}


def config_bytes(**more):
    import json

    return json.dumps({**CONFIG, **more}).encode()


@pytest.fixture
def repo(small_hub):
    files = {"Tiny-Q8_0.gguf": gguf_bytes(tensors=BIG), "Tiny-Q4_0.gguf": gguf_bytes(), "README.md": b"# Tiny"}
    return small_hub.add("org/Tiny-1B-GGUF", files)


@pytest.fixture
def transformers(small_hub):
    parts = {
        "model-00001-of-00002.safetensors": safetensors_bytes({"a.weight": ("BF16", (64, 64))}),
        "model-00002-of-00002.safetensors": safetensors_bytes({"b.weight": ("BF16", (32, 32))}),
        "model.safetensors.index.json": index_bytes(
            {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
        ),
        "tokenizer.json": b"{}",
    }
    return small_hub.add("org/Tiny-1B", {**parts, "config.json": config_bytes()})


def test_a_search_finds_what_matches(hub, repo, transformers, small_hub):
    found = hubs.search(hub, "tiny gguf")
    assert [(one.name, one.formats, one.downloads) for one in found] == [("org/Tiny-1B-GGUF", ("gguf",), 1234)]
    assert small_hub.asked[0][1]["user-agent"].startswith("modelyard")


def test_a_repository_is_pinned_to_its_commit_with_sizes_and_sums(hub, repo):
    found = hubs.repo(hub, "org/Tiny-1B-GGUF", "main")
    assert (found.commit, found.licence) == (COMMIT, "apache-2.0")
    sums = {file.name: (file.size_bytes, bool(file.sha256), bool(file.git_sha1)) for file in found.files}
    assert sums["Tiny-Q8_0.gguf"] == (len(repo.files["Tiny-Q8_0.gguf"]), True, False)
    assert sums["README.md"] == (6, False, True)


def test_what_is_fetched_is_known_before_by_its_header(hub, repo):
    inspected = inspect_repo(hub, hubs.repo(hub, "org/Tiny-1B-GGUF"), "Tiny-Q8_0")
    assert (inspected.model_name, inspected.main_file, inspected.format) == ("Tiny-1B", "Tiny-Q8_0.gguf", "gguf")
    assert inspected.facts["architecture"] == "llama"
    assert inspected.source["commit"] == COMMIT
    assert inspected.files[0]["sha256"]


def test_a_set_of_safetensors_comes_with_its_config(hub, transformers):
    inspected = inspect_repo(hub, hubs.repo(hub, "org/Tiny-1B"), "safetensors")
    assert (inspected.quantisation, inspected.facts["parameters"]) == ("BF16", 64 * 64 + 32 * 32)
    assert {file["name"] for file in inspected.files} >= {"config.json", "tokenizer.json"}


def test_fetching_is_a_job_that_holds_names_and_sums_but_no_secret(hub, repo, root, ada, team, host):
    services.save_hub(root, hub, name="Small", endpoint=hub.endpoint, token=TOKEN, allows_private=True)
    job = fetching.from_hub(ada, team, host, Hub.objects.get(), "org/Tiny-1B-GGUF", "Tiny-Q8_0")
    assert job.params["source"]["commit"] == COMMIT
    assert str(job.artifact) == "Tiny-1B F32"
    assert TOKEN not in str(Job.objects.values().get()) + str(Artifact.objects.values().get())
    assert fetching.from_hub(ada, team, host, Hub.objects.get(), "org/Tiny-1B-GGUF", "Tiny-Q8_0") == job


def test_a_token_is_sealed_to_its_hub_and_written_nowhere(hub, root, small_hub):
    services.save_hub(root, hub, name="Small", endpoint=hub.endpoint, token=TOKEN, allows_private=True)
    hub.refresh_from_db()
    assert TOKEN not in hub.sealed_token and TOKEN not in str(list(AuditEntry.objects.values()))
    assert hubs.secret_headers(hub) == {"Authorization": f"Bearer {TOKEN}"}
    other = Hub.objects.create(name="Other", endpoint="https://other.example", sealed_token=hub.sealed_token)
    with pytest.raises(Conflict, match="cannot be read"):
        hubs.secret_headers(other)


def test_a_token_does_not_follow_a_hub_to_another_address(hub, root):
    services.save_hub(root, hub, name="Small", endpoint=hub.endpoint, token=TOKEN, allows_private=True)
    services.save_hub(root, hub, name="Small", endpoint="https://elsewhere.example", allows_private=True)
    assert Hub.objects.get().sealed_token == ""


def test_a_private_repository_opens_with_the_token(hub, root, small_hub):
    small_hub.add("org/secret", {"m.gguf": gguf_bytes()}, private=True)
    with pytest.raises(Invalid) as refused:
        hubs.repo(hub, "org/secret")
    assert "private repository add a token in Settings > Hubs" in refused.value.advice
    services.save_hub(root, hub, name="Small", endpoint=hub.endpoint, token=TOKEN, allows_private=True)
    hub.refresh_from_db()
    assert hubs.repo(hub, "org/secret").commit == COMMIT


def test_a_gated_repository_says_where_to_accept_its_terms(hub, small_hub):
    small_hub.add("meta/gated", {"m.gguf": gguf_bytes(tensors=BIG)}, gated="manual")
    with pytest.raises(Conflict) as refused:
        inspect_repo(hub, hubs.repo(hub, "meta/gated"), "m")
    assert f"Accept its terms at {small_hub.url}/meta/gated" in refused.value.advice
    assert "token" in refused.value.advice


@pytest.mark.parametrize(
    ("name", "revision", "kind", "words"),
    [
        ("org/none", "", Invalid, "org/none was not found"),
        ("org/Tiny-1B-GGUF", "v9", Invalid, "no such revision"),
        ("not a name!", "", Invalid, "owner/name"),
        ("../../etc", "", Invalid, "owner/name"),
    ],
)
def test_what_is_not_there_is_named(hub, repo, name, revision, kind, words):
    with pytest.raises(kind, match=words):
        hubs.repo(hub, name, revision)


@pytest.mark.parametrize(("status", "words"), [(429, "rate limit"), (500, "answered 500"), (403, "token")])
def test_a_hub_in_trouble_is_told_apart(hub, small_hub, repo, status, words):
    small_hub.statuses = [status]
    with pytest.raises(ServiceError, match=words):
        hubs.repo(hub, "org/Tiny-1B-GGUF")


def test_a_hub_that_cannot_be_reached_says_what_else_one_can_do(hub):
    hub.endpoint = "http://127.0.0.1:1"
    with pytest.raises(Unavailable) as refused:
        hubs.search(hub, "x")
    assert "local files" in refused.value.advice


def test_a_hub_on_a_private_address_is_not_asked_without_an_admins_word(hub, small_hub):
    hub.allows_private = False
    with pytest.raises(Invalid, match="Plain http"):
        hubs.search(hub, "x")
    assert small_hub.asked == []


def test_a_page_that_is_no_hub_is_called_that(hub, small_hub):
    hub.endpoint = f"{small_hub.url}/plain"
    with pytest.raises(ServiceError):
        hubs.search(hub, "x")


def test_code_of_a_repository_needs_an_admins_approval_of_exactly_that_commit(hub, small_hub, root, ada):
    files = {"model.safetensors": safetensors_bytes(), "config.json": config_bytes(auto_map={"AutoModel": "m.Model"})}
    small_hub.add("org/code", {**files, "m.py": b"print('hello')"})
    found = hubs.repo(hub, "org/code")
    with pytest.raises(Invalid, match="custom Python code"):
        inspect_repo(hub, found, "safetensors")
    with pytest.raises(NotAllowed):
        services.approve_code(ada, hub, "org/code", found.commit)
    services.approve_code(root, hub, "org/code", "f" * 40)
    with pytest.raises(Invalid, match="custom Python code"):
        inspect_repo(hub, found, "safetensors")
    services.approve_code(root, hub, "org/code", found.commit)
    assert "m.py" in {file["name"] for file in inspect_repo(hub, found, "safetensors").files}


def test_what_was_approved_runs_on_when_its_hub_is_deleted(hub, small_hub, root):
    files = {"model.safetensors": safetensors_bytes(), "config.json": config_bytes(auto_map={"AutoModel": "m.Model"})}
    small_hub.add("org/code", {**files, "m.py": b"print('hello')"})
    found = hubs.repo(hub, "org/code")
    services.approve_code(root, hub, "org/code", found.commit)
    inspected = inspect_repo(hub, found, "safetensors")
    artifact = Artifact(files=[{"name": file["name"]} for file in inspected.files], source=inspected.source)
    assert services.why_no_launch(artifact) == ""
    services.delete_hub(root, hub)
    assert services.why_no_launch(artifact) == ""


def test_a_pickle_called_safetensors_is_refused_before_anything_is_queued(hub, small_hub, ada, team, host):
    import pickle

    small_hub.add("org/evil", {"model.safetensors": pickle.dumps([0.5] * 999), "config.json": config_bytes()})
    with pytest.raises(Invalid, match="pickle"):
        fetching.from_hub(ada, team, host, hub, "org/evil", "safetensors")
    assert not Job.objects.exists() and not Artifact.objects.exists()


def test_a_repository_of_pickles_has_nothing_to_offer(hub, small_hub):
    small_hub.add("org/old", {"pytorch_model.bin": b"x" * 10, "config.json": config_bytes()})
    assert offer(hub, hubs.repo(hub, "org/old")).variants == ()
    with pytest.raises(Invalid, match="no variant"):
        inspect_repo(hub, hubs.repo(hub, "org/old"), "safetensors")


def test_two_commits_of_one_file_are_two_artifacts(hub, repo, ada, team, host):
    first = fetching.from_hub(ada, team, host, hub, "org/Tiny-1B-GGUF", "Tiny-Q8_0")
    repo.commit = "f" * 40
    second = fetching.from_hub(ada, team, host, hub, "org/Tiny-1B-GGUF", "Tiny-Q8_0")
    assert first.artifact != second.artifact
    assert first.artifact.catalog_model == second.artifact.catalog_model


def test_only_installation_admins_change_hubs(ada, hub):
    for change in (lambda: services.save_hub(ada, hub, name="X"), lambda: services.delete_hub(ada, hub)):
        with pytest.raises(NotAllowed):
            change()


@pytest.mark.parametrize("endpoint", ["ftp://x", "https://", "https://user:pw@x.example", "http://x.example", "x"])
def test_an_address_that_is_none_is_refused(root, db, endpoint):
    with pytest.raises(Invalid):
        services.save_hub(root, None, name="X", endpoint=endpoint)


def test_a_team_sees_its_hubs_and_those_for_everybody(hub, team, ada, eve, root):
    private = Hub.objects.create(name="Private", endpoint="https://private.example")
    private.teams.add(team)
    off = Hub.objects.create(name="Off", is_enabled=False)
    assert set(Hub.objects.visible_to(ada)) == {hub, private}
    assert set(Hub.objects.visible_to(eve)) == {hub}
    assert set(Hub.objects.visible_to(root)) == {hub, private, off}


def test_the_usual_hub_follows_the_environment(monkeypatch):
    hub = Hub(name="Hugging Face")
    assert hub.url == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert hub.url == "https://mirror.example"
