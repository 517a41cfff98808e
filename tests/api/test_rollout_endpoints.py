"""REST endpoints to edits, rollouts, grants and presets: owner, teammate, stranger, and bad requests."""

import json
from typing import Any

import pytest

from webapp.deployments import services
from webapp.deployments.models import Deployment

pytestmark = pytest.mark.django_db


@pytest.fixture
def served(artifact: Any, ada: Any, team: Any) -> Any:
    return services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, replicas=2))


def send(client: Any, method: str, path: str, data: Any = None) -> Any:
    body = json.dumps(data if data is not None else {})
    return getattr(client, method)(f"/api/v1{path}", body, content_type="application/json")


def test_a_patch_is_a_request_and_makes_a_revision(as_caller: Any, ada: Any, bob: Any, served: Any) -> None:
    change = {"options": {"context_length": 2048}, "note": "shorter", "base_revision": 1}
    planned = send(as_caller(ada), "patch", f"/deployments/{served.pk}?dry_run=true", change)
    assert planned.status_code == 200
    assert [(c["name"], c["old"], c["new"]) for c in planned.json()["changes"]] == [
        ("options.context_length", "4096", "2048")
    ]
    assert served.revisions.count() == 1
    answer = send(as_caller(bob), "patch", f"/deployments/{served.pk}", change)
    assert answer.status_code == 202, answer.content
    assert (answer.json()["revision"], answer.json()["is_rolling"]) == (2, True)
    client = as_caller(ada)
    revisions = client.get(f"/api/v1/deployments/{served.pk}/revisions").json()["items"]
    assert [(row["number"], row["actor"], row["note"]) for row in revisions] == [(2, "bob", "shorter"), (1, "ada", "")]
    [diff] = client.get(f"/api/v1/deployments/{served.pk}/revisions/1/diff").json()
    assert (diff["old"], diff["new"]) == ("2048", "4096")
    rollouts = client.get(f"/api/v1/deployments/{served.pk}/rollouts").json()["items"]
    assert [(row["kind"], row["state"]) for row in rollouts] == [("edit", "running"), ("create", "superseded")]


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "words"),
    [
        ("patch", "", {"replicas": 1000}, 422, "replicas"),
        ("patch", "", {"artifact": 4711}, 404, "no artifact 4711"),
        ("patch", "", {"host": 4711}, 404, "no host 4711"),
        ("patch", "", {"options": {"rm": "-rf"}}, 422, "rm"),
        ("patch", "", {"engine": "abacus"}, 422, "abacus"),
        ("patch", "", {"base_revision": 7, "note": "x"}, 409, "at revision 1"),
        ("patch", "", {"aliases": ["chat"]}, 422, "its name already"),
        ("patch", "?dry_run=true", {"options": {"context_length": -1}}, 422, "context_length"),
        ("post", "/scale", {"replicas": 65}, 422, "replicas"),
        ("post", "/scale", {}, 422, "replicas"),
        ("post", "/rollback", {"revision": 9}, 422, "no revision 9"),
        ("post", "/rollback", {"revision": 1}, 409, "already runs what revision 1 ran"),
        ("post", "/grants", {"team": "nobody"}, 422, "no team"),
    ],
)
def test_bad_requests_are_refused_and_change_nothing(
    as_caller: Any, ada: Any, served: Any, method: str, path: str, data: Any, status: int, words: str
) -> None:
    answer = send(as_caller(ada), method, f"/deployments/{served.pk}{path}", data)
    assert answer.status_code == status, answer.content
    assert words in answer.content.decode()
    served.refresh_from_db()
    assert (served.revisions.count(), served.rollouts.count(), served.desired_replicas) == (1, 1, 2)


def test_what_is_being_deleted_is_a_conflict(as_caller: Any, ada: Any, served: Any) -> None:
    services.delete(ada, served)
    for method, path, data in (
        ("patch", "", {"note": "x"}),
        ("post", "/scale", {"replicas": 1}),
        ("post", "/restart", {}),
    ):
        assert send(as_caller(ada), method, f"/deployments/{served.pk}{path}", data).status_code == 409


def test_verbs_are_taken_from_teammates_refused_to_viewers_and_hidden_from_strangers(
    as_caller: Any, ada: Any, bob: Any, eve: Any, served: Any
) -> None:
    verbs = [("post", "/scale", {"replicas": 3}), ("post", "/restart", {}), ("patch", "", {"note": "x"}),
             ("post", "/grants", {"team": "strangers"})]  # fmt: skip
    for method, path, data in verbs:
        assert send(as_caller(eve), method, f"/deployments/{served.pk}{path}", data).status_code == 404
        assert send(as_caller(bob), method, f"/deployments/{served.pk}{path}", data).status_code in (201, 202), path
    bob.memberships.update(role="viewer")
    for method, path, data in verbs:
        assert send(as_caller(bob), method, f"/deployments/{served.pk}{path}", data).status_code == 403, path


def test_history_is_for_the_own_team_alone(as_caller: Any, ada: Any, eve: Any, served: Any) -> None:
    paths = ["revisions", "rollouts", "events", "starts", "grants", "revisions/1/diff", "replicas/1/log"]
    for path in paths:
        assert as_caller(ada).get(f"/api/v1/deployments/{served.pk}/{path}").status_code == 200, path
        assert as_caller(eve).get(f"/api/v1/deployments/{served.pk}/{path}").status_code == 404, path
    send(as_caller(ada), "post", f"/deployments/{served.pk}/grants", {"team": "strangers"})
    for path in paths:
        assert as_caller(eve).get(f"/api/v1/deployments/{served.pk}/{path}").status_code == 404, path


def test_a_granted_team_sees_the_deployment_without_its_settings(
    as_caller: Any, ada: Any, eve: Any, served: Any
) -> None:
    services.edit(ada, served, services.DeploymentPatch({"options": {"context_length": 2048}}))
    made = send(as_caller(ada), "post", f"/deployments/{served.pk}/grants", {"team": "strangers"})
    assert (made.status_code, made.json()["team"]) == (201, "strangers")
    client = as_caller(eve)
    [listed] = client.get("/api/v1/deployments").json()["items"]
    assert (listed["name"], listed["is_own"], listed["options"]) == ("chat", False, {})
    assert send(client, "post", f"/deployments/{served.pk}/stop").status_code == 403
    assert send(as_caller(ada), "delete", f"/deployments/{served.pk}/grants/strangers").status_code == 204
    assert client.get(f"/api/v1/deployments/{served.pk}").status_code == 404


def test_the_events_are_read_on_from_where_one_stopped(as_caller: Any, ada: Any, served: Any) -> None:
    client, address = as_caller(ada), f"/api/v1/deployments/{served.pk}/events"
    newest = client.get(address).json()["items"][0]["id"]
    services.scale(ada, served, 3)
    services.stop(ada, served)
    after = client.get(address, {"since": newest}).json()["items"]
    assert [entry["text"] for entry in after] == ["scaled from 2 to 3 replicas", "requested a stop"]
    assert client.get(address, {"revision": 99}).json()["count"] == 0


def test_presets_are_ours_and_the_teams(as_caller: Any, ada: Any, eve: Any) -> None:
    body = {"name": "Nightly", "options": {"context_length": 1024}}
    made = send(as_caller(ada), "post", "/presets", body)
    assert made.status_code == 201, made.content
    assert send(as_caller(ada), "post", "/presets", body).status_code == 409
    names = [preset["name"] for preset in as_caller(ada).get("/api/v1/presets").json()]
    assert "Chat, one user" in names and "Nightly" in names
    assert "Nightly" not in [preset["name"] for preset in as_caller(eve).get("/api/v1/presets").json()]
    number = made.json()["key"].partition(":")[2]
    assert send(as_caller(eve), "delete", f"/presets/{number}").status_code == 404
    assert send(as_caller(ada), "delete", f"/presets/{number}").status_code == 204


def test_the_list_is_filtered_by_state_and_name_and_alias(as_caller: Any, ada: Any, served: Any) -> None:
    services.edit(ada, served, services.DeploymentPatch(aliases=("gpt-4o",)))
    client = as_caller(ada)
    for query, count in (
        ({"state": "pending"}, 1),
        ({"state": "ready"}, 0),
        ({"name": "gpt-4o"}, 1),
        ({"host": "x"}, 0),
    ):
        assert client.get("/api/v1/deployments", query).json()["count"] == count, query


def test_a_dry_run_of_a_new_deployment_makes_none(as_caller: Any, ada: Any, artifact: Any) -> None:
    answer = send(as_caller(ada), "post", "/deployments?dry_run=true", {"name": "x", "artifact": artifact.pk})
    assert (answer.status_code, answer.json()["changes"]) == (200, [])
    assert not Deployment.objects.exists()


def test_a_dry_run_refuses_a_name_that_is_taken(as_caller: Any, ada: Any, served: Any, artifact: Any) -> None:
    asked = {"name": "chat", "artifact": artifact.pk}
    dry, real = (send(as_caller(ada), "post", f"/deployments{query}", asked) for query in ("?dry_run=true", ""))
    assert (dry.status_code, real.status_code) == (409, 409)
    assert dry.json()["title"] == real.json()["title"]


def test_a_dry_run_says_the_conflict_that_the_change_would_meet(
    as_caller: Any, ada: Any, served: Any, team: Any
) -> None:
    services.create(ada, team, services.DeploymentSpec("other", artifact=served.artifact, aliases=("gpt-4o",)))
    change = {"aliases": ["gpt-4o"]}
    dry = send(as_caller(ada), "patch", f"/deployments/{served.pk}?dry_run=true", change)
    real = send(as_caller(ada), "patch", f"/deployments/{served.pk}", change)
    assert (dry.status_code, real.status_code) == (200, 409)
    assert dry.json()["refused"] == f"{real.json()['title']} {real.json()['detail']}"
    change = {"aliases": ["meta-llama/Llama-3.1-8B"]}
    dry = send(as_caller(ada), "patch", f"/deployments/{served.pk}?dry_run=true", change)
    assert dry.json()["refused"] == ""
    assert served.aliases == []


def test_a_dry_run_says_the_gap_unless_it_is_allowed(
    as_caller: Any, ada: Any, artifact: Any, team: Any, host: Any
) -> None:
    from workers.controllers.replica import placing

    artifact.facts = {
        "architecture": "llama", "layers": 2, "heads": 2, "kv_heads": 2, "embedding_length": 64,
        "weights_bytes": 1 << 20,
    }  # fmt: skip
    artifact.save()
    one = services.create(ada, team, services.DeploymentSpec("one", artifact=artifact))
    placing.place(one.replicas.get())
    type(host).objects.update(usable_bytes=int(host.reservations.filter(accelerator=None).get().size_bytes * 1.5))
    for allowed, words in ((False, "Not enough memory to run the old and the new replica side by side"), (True, "")):
        change = {"options": {"context_length": 2048}, "allow_downtime": allowed}
        refused = send(as_caller(ada), "patch", f"/deployments/{one.pk}?dry_run=true", change).json()["refused"]
        assert refused.startswith(words) and bool(refused) == bool(words)
    assert one.revisions.count() == 1


def test_a_dry_run_wakes_nobody_and_writes_nothing_down(
    as_caller: Any, ada: Any, served: Any, artifact: Any, sent_tasks: Any, django_capture_on_commit_callbacks: Any
) -> None:
    from webapp.accounts.models import AuditEntry
    from webapp.foundation.events.services import version
    from webapp.foundation.events.topics import ROUTES

    sent_tasks.clear()
    client, before = as_caller(ada), (AuditEntry.objects.count(), version(ROUTES), served.events.count())
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        send(client, "post", "/deployments?dry_run=true", {"name": "x", "artifact": artifact.pk})
        send(client, "patch", f"/deployments/{served.pk}?dry_run=true", {"replicas": 3})
        send(client, "delete", f"/deployments/{served.pk}?dry_run=true")
    assert (sent_tasks, callbacks) == ([], [])
    assert (AuditEntry.objects.count(), version(ROUTES), served.events.count()) == before


def test_a_dry_run_of_a_deletion_deletes_nothing(as_caller: Any, ada: Any, served: Any) -> None:
    assert send(as_caller(ada), "delete", f"/deployments/{served.pk}?dry_run=true").status_code == 200
    served.refresh_from_db()
    assert served.desired_state == "running"
