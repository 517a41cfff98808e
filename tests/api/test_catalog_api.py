"""The REST endpoints of hubs, fetches, copies and disks."""

import json

import pytest

from tests.catalog.gguf_file import gguf_bytes
from tests.parts.hub import COMMIT, TOKEN
from webapp.accounts.models import Membership
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState, Hub
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def repo(small_hub):
    return small_hub.add("org/Tiny-GGUF", {"Tiny-Q8_0.gguf": gguf_bytes()})


def send(client, method, path, data=None):
    return getattr(client, method)(f"/api/v1{path}", json.dumps(data or {}), content_type="application/json")


@pytest.mark.parametrize("name", ["ada", "bob"])
def test_from_a_search_to_a_queued_fetch(as_caller, request, name, host, hub, repo):
    client = as_caller(request.getfixturevalue(name))
    (found,) = client.get(f"/api/v1/hubs/{hub.pk}/search?q=tiny").json()
    assert (found["name"], found["formats"]) == ("org/Tiny-GGUF", ["gguf"])
    offered = client.get(f"/api/v1/hubs/{hub.pk}/repo?name={found['name']}").json()
    assert offered["commit"] == COMMIT
    (variant,) = offered["variants"]
    assert variant["fits"] == [{"host": "local", "where": "GPU", "when": "now", "why": ""}]
    answer = send(client, "post", "/downloads", {"hub": hub.pk, "repo": found["name"], "variant": variant["key"]})
    assert answer.status_code == 202, answer.content
    job = answer.json()
    assert (job["kind"], job["state"], job["artifact"], job["left_s"]) == ("fetch", "queued", "Tiny F32", None)
    assert [one["name"] for one in client.get("/api/v1/models?q=tiny").json()["items"]] == ["Tiny"]
    assert client.get("/api/v1/jobs?state=queued&kind=fetch").json()["count"] == 1
    assert client.get("/api/v1/jobs?kind=delete_copy").json()["count"] == 0


@pytest.mark.parametrize(
    "asked", [{}, {"hub": 1, "url": "https://example.org/m.gguf"}, {"url": "https://10.0.0.1/m.gguf"}]
)
def test_a_fetch_that_makes_no_sense_is_refused(as_caller, ada, host, asked):
    assert send(as_caller(ada), "post", "/downloads", asked).status_code == 422
    assert not Job.objects.exists()


def test_a_hub_out_of_reach_is_503_with_advice(as_caller, ada, host, hub):
    Hub.objects.update(endpoint="http://127.0.0.1:1")
    answer = as_caller(ada).get(f"/api/v1/hubs/{hub.pk}/search?q=x")
    assert answer.status_code == 503 and "local files" in answer.json()["detail"]


def test_a_hub_of_another_team_is_not_there(as_caller, eve, team, hub):
    hub.teams.add(team)
    client = as_caller(eve)
    assert client.get("/api/v1/hubs").json()["count"] == 0
    assert client.get(f"/api/v1/hubs/{hub.pk}/search").status_code == 404
    assert send(client, "post", "/downloads", {"hub": hub.pk, "repo": "o/r", "variant": "v"}).status_code == 404


def test_an_installation_admin_manages_hubs_and_the_token_stays_inside(as_caller, root, team, hub):
    Membership.objects.create(user=root, team=team, role="admin")
    client = as_caller(root)
    answer = send(client, "post", "/hubs", {"name": "M", "endpoint": "https://m.example", "token": TOKEN})
    assert answer.status_code == 201 and answer.json()["has_token"] and TOKEN not in answer.content.decode()
    path = f"/hubs/{answer.json()['id']}"
    changed = send(client, "patch", path, {"name": "N", "teams": [team.slug]}).json()
    assert (changed["name"], changed["url"], changed["has_token"], changed["teams"]) == (
        "N", "https://m.example", True, [team.slug],
    )  # fmt: skip
    assert not send(client, "patch", path, {"token": ""}).json()["has_token"]
    assert send(client, "patch", path, {"teams": ["none"]}).status_code == 422
    assert client.delete(f"/api/v1{path}").status_code == 204
    assert send(client, "post", f"/hubs/{hub.pk}/approvals", {"repo": "o/r", "commit": COMMIT}).status_code == 204


def test_others_change_no_hub(as_caller, ada, hub):
    client = as_caller(ada)
    for method, path in (("post", "/hubs"), ("patch", f"/hubs/{hub.pk}"), ("delete", f"/hubs/{hub.pk}")):
        assert send(client, method, path, {"name": "X"}).status_code == 403
    assert send(client, "post", f"/hubs/{hub.pk}/approvals", {"repo": "o/r", "commit": COMMIT}).status_code == 403


def test_copies_come_and_go_as_jobs(as_caller, bob, artifact, host):
    client = as_caller(bob)
    path = f"/artifacts/{artifact.pk}"
    assert send(client, "post", f"{path}/copies", {"host": host.pk}).status_code == 409
    answer = send(client, "delete", f"{path}/copies/{host.pk}")
    assert answer.status_code == 202 and answer.json()["kind"] == "delete_copy"
    assert ArtifactCopy.objects.get().state == CopyState.DELETING
    assert send(client, "delete", f"{path}/copies/{host.pk}").status_code == 409
    assert client.get("/api/v1/artifacts?host=999").json()["count"] == 0


def test_an_artifact_without_copies_goes_at_once_and_with_its_model(as_caller, bob, artifact):
    ArtifactCopy.objects.all().delete()
    answer = send(as_caller(bob), "delete", f"/artifacts/{artifact.pk}")
    assert (answer.status_code, answer.json()) == (202, [])
    assert not Artifact.objects.exists()


def test_a_used_artifact_stays(as_caller, ada, deployment):
    client = as_caller(ada)
    path = f"/artifacts/{deployment.artifact_id}"
    for address in (path, f"{path}/copies/{ArtifactCopy.objects.get().host_id}"):
        answer = send(client, "delete", address)
        assert answer.status_code == 409 and "smollm2" in answer.json()["title"]


def test_a_viewer_and_a_stranger_fetch_and_delete_nothing_for_the_team(as_caller, bob, eve, artifact, team, host):
    bob.memberships.update(role="viewer")
    for person, status in ((bob, 403), (eve, 422)):
        answer = send(as_caller(person), "delete", f"/artifacts/{artifact.pk}?team={team.slug}")
        assert answer.status_code == status
    assert not Job.objects.exists()


def test_the_disk_is_told_by_host(as_caller, ada, artifact):
    (disk,) = as_caller(ada).get("/api/v1/disk").json()
    assert (disk["models_bytes"], disk["unused_bytes"]) == (144_811_072, 144_811_072)
    assert disk["held"][0]["deployments"] == 0


def test_popular_models_come_with_rough_memory(as_caller, ada):
    found = as_caller(ada).get("/api/v1/popular-models?q=phi").json()
    assert [one["name"] for one in found] == ["Phi-3 Mini 4K Instruct"]
    assert found[0]["memory_bytes"]["4-bit"] < found[0]["memory_bytes"]["16-bit"]


def test_programs_list_allow_and_forbid_images(as_caller, root, ada, team):
    Membership.objects.create(user=root, team=team, role="admin")
    client, digest = as_caller(root), f"sha256:{'a' * 64}"
    made = send(client, "post", "/images", {"image": f"me/llama@{digest}"})
    assert made.status_code == 201 and made.json()["repository"] == "docker.io/me/llama"
    (row,) = client.get("/api/v1/images").json()["items"]
    assert (row["digest"], row["added_by"]) == (digest, "root")
    other = as_caller(ada)
    assert [other.get(f"/api/v1/images?q={word}").json()["count"] for word in ("llama", "other")] == [1, 0]
    assert send(other, "post", "/images", {"image": "me/x"}).status_code == 403
    assert other.delete(f"/api/v1/images/{row['id']}").status_code == 403
    assert client.delete(f"/api/v1/images/{row['id']}").status_code == 204
