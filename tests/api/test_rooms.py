"""What the REST API does, seen by the owner, a teammate and a stranger."""

import json

import pytest

from webapp.deployments import lifecycle
from webapp.deployments.models import Deployment, ReplicaEvent

pytestmark = pytest.mark.django_db


def post(client, path, data=None):
    return client.post(path, json.dumps(data or {}), content_type="application/json")


def test_creating_a_deployment_answers_202_and_wakes_the_workers(
    as_caller, ada, artifact, sent_tasks, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        answer = post(as_caller(ada), "/api/v1/deployments", {"name": "chat", "artifact": artifact.pk, "replicas": 2})
    assert answer.status_code == 202, answer.content
    made = answer.json()
    assert (made["state"], made["team"], len(made["replicas"])) == ("pending", "research", 2)
    assert made["endpoint"].endswith("/d/research/chat/v1")
    assert sorted(task for task, _id in sent_tasks) == ["deployments.reconcile"] * 2


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"name": "Not Good!"}, 422, "lower-case letters"),
        ({"name": ""}, 422, "name"),
        ({"artifact": 4711}, 404, "no artifact 4711"),
        ({"engine": "abacus"}, 422, "no engine 'abacus'"),
        ({"options": {"context_length": -1}}, 422, "context_length"),
        ({"options": {"rm": "-rf"}}, 422, "rm"),
        ({"replicas": 65}, 422, "replicas"),
        ({"team": "strangers"}, 422, "no team 'strangers'"),
    ],
)
def test_a_bad_request_is_refused_with_its_field(as_caller, ada, artifact, eve, change, status, words):
    asked = {"name": "chat", "artifact": artifact.pk, **change}
    answer = post(as_caller(ada), "/api/v1/deployments", asked)
    assert answer.status_code == status
    assert words in answer.content.decode()
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("path", "said", "missing"),
    [
        ("deployments", {"name": "chat"}, {"artifact", "host"}),
        ("estimates", {}, {"artifact"}),
        ("imports", {"source_path": "/x.gguf"}, {"host"}),
        ("downloads", {"repo": "o/r", "variant": "v"}, {"hub", "host"}),
        ("artifacts/{artifact}/copies", {}, {"host"}),
        ("artifacts/{artifact}/rebuild", {}, {"host"}),
        ("quantisations/preview", {"recipe": {}}, {"artifact", "host"}),
        ("quantisations", {"recipe": {}}, {"artifact", "host", "calibration", "judging", "prompts"}),
        (
            "schedules",
            {"name": "nightly", "recipes": [{}], "cron": "0 2 * * *"},
            {"artifact", "host", "hub", "calibration", "judging", "prompts", "deployment"},
        ),
    ],
)
def test_every_id_that_names_nothing_is_told_by_its_field(as_caller, ada, artifact, path, said, missing):
    answer = post(as_caller(ada), f"/api/v1/{path.format(artifact=artifact.pk)}", said | dict.fromkeys(missing, 4711))
    assert answer.status_code == 404, answer.content
    told = answer.json()
    assert set(told["errors"]) == missing
    assert all("4711 that you may use" in words for words in told["errors"].values())
    assert "/api/v1/" in told["detail"]


def test_what_strangers_have_is_told_like_what_is_not_there(as_caller, ada, eve, artifact, host):
    host.is_shared = False
    host.save()
    client = as_caller(eve)
    told = [
        post(client, "/api/v1/deployments", {"name": "x", "artifact": artifact.pk, "host": number}).json()
        for number in (host.pk, 4711)
    ]
    assert told[0]["errors"] == {"host": told[1]["errors"]["host"].replace("4711", str(host.pk))}


def test_a_name_that_is_taken_is_a_conflict(as_caller, ada, deployment, artifact):
    answer = post(as_caller(ada), "/api/v1/deployments", {"name": deployment.name, "artifact": artifact.pk})
    assert answer.status_code == 409
    assert answer.json()["errors"]["name"]
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_request_is_taken_from_owner_and_teammate_but_not_from_a_stranger(as_caller, ada, bob, eve, deployment, verb):
    address = f"/api/v1/deployments/{deployment.pk}/{verb}"
    assert post(as_caller(ada), address).status_code == 202
    assert post(as_caller(bob), address).status_code == 202
    before = ReplicaEvent.objects.count()
    assert post(as_caller(eve), address).status_code == 404
    assert ReplicaEvent.objects.count() == before


def test_a_stranger_sees_no_events_or_log_of_a_deployment(as_caller, eve, deployment):
    client = as_caller(eve)
    assert client.get("/api/v1/deployments").json() == {"items": [], "count": 0}
    for path in ("", "/events", "/replicas/1/log"):
        assert client.get(f"/api/v1/deployments/{deployment.pk}{path}").status_code == 404
    assert client.delete(f"/api/v1/deployments/{deployment.pk}").status_code == 404


def test_a_viewer_may_look_but_not_touch(as_caller, bob, deployment):
    bob.memberships.update(role="viewer")
    client = as_caller(bob)
    assert client.get(f"/api/v1/deployments/{deployment.pk}").status_code == 200
    assert post(client, f"/api/v1/deployments/{deployment.pk}/stop").status_code == 403


def test_deleting_is_a_request_and_blocks_other_requests(as_caller, ada, deployment):
    client = as_caller(ada)
    assert client.delete(f"/api/v1/deployments/{deployment.pk}").json()["state"] == "deleting"
    assert post(client, f"/api/v1/deployments/{deployment.pk}/start").status_code == 409


def test_the_log_is_read_on_from_where_one_stopped(as_caller, ada, deployment):
    replica = deployment.replicas.get()
    lifecycle.append_log(replica.pk, 1, 1, "first\n", "t1")
    lifecycle.append_log(replica.pk, 1, 1, "second\n", "t2")
    client = as_caller(ada)
    address = f"/api/v1/deployments/{deployment.pk}/replicas/1/log"
    whole = client.get(address).json()
    assert whole == {"text": "first\nsecond\n", "next_offset": 13, "attempt": 1, "has_more": False}
    assert client.get(address, {"offset": 3}).json()["text"] == "st\nsecond\n"
    assert client.get(address, {"offset": 13}).json()["text"] == ""


def test_lists_take_the_same_queries_for_one_and_for_many(
    as_caller, ada, make_deployment, django_assert_max_num_queries
):
    for number in range(30):
        make_deployment(f"many-{number}", replicas=2)
    client = as_caller(ada)
    with django_assert_max_num_queries(8):
        answer = client.get("/api/v1/deployments", {"limit": 20})
    assert (len(answer.json()["items"]), answer.json()["count"]) == (20, 30)


def test_hosts_and_artifacts_are_listed_with_their_sizes(as_caller, ada, artifact, host):
    client = as_caller(ada)
    [listed] = client.get("/api/v1/hosts").json()["items"]
    assert listed["usable_bytes"] < listed["memory_bytes"] == host.memory_bytes
    [file] = client.get("/api/v1/artifacts").json()["items"]
    assert (file["size_bytes"], file["copies"][0]["host"]) == (artifact.size_bytes, host.name)


def test_only_admins_drain_hosts(as_caller, ada, root, team, host):
    root.memberships.create(team=team, role="admin")
    body = json.dumps({"is_drained": True})
    address = f"/api/v1/hosts/{host.pk}"
    assert as_caller(ada).patch(address, body, content_type="application/json").status_code == 403
    assert as_caller(root).patch(address, body, content_type="application/json").json()["is_drained"] is True


def test_keys_are_created_shown_once_and_revoked(as_caller, ada, eve):
    client = as_caller(ada)
    made = post(client, "/api/v1/keys", {"name": "ci", "scopes": ["inference"]})
    assert made.status_code == 201
    assert made.json()["key"].startswith(made.json()["prefix"])
    assert "key" not in client.get("/api/v1/keys").json()["items"][0]
    assert as_caller(eve).delete(f"/api/v1/keys/{made.json()['id']}").status_code == 404
    assert client.delete(f"/api/v1/keys/{made.json()['id']}").status_code == 204


def test_the_engines_and_their_options_are_described(as_caller, ada):
    engines = as_caller(ada).get("/api/v1/engines").json()
    llamacpp = next(engine for engine in engines if engine["name"] == "llamacpp")
    assert llamacpp["formats"] == ["gguf"]
    assert "context_length" in llamacpp["options"]["properties"]


def test_an_estimate_names_its_terms_and_what_every_host_says(as_caller, ada, artifact, host):
    client = as_caller(ada)
    unknown = post(client, "/api/v1/estimates", {"artifact": artifact.pk})
    assert (unknown.status_code, unknown.json()["title"]) == (
        422,
        "The file's header says too little for an estimate.",
    )
    artifact.facts = {"architecture": "llama", "layers": 2, "embedding_length": 64, "weights_bytes": 1 << 20}
    artifact.save()
    found = post(client, "/api/v1/estimates", {"artifact": artifact.pk}).json()
    assert found["total_bytes"] == sum(term["bytes"] for term in found["terms"]) > 0
    assert found["reserved_bytes"] > found["total_bytes"]
    assert [(place["host"], place["fits"], place["why"]) for place in found["places"]] == [(host.name, True, "")]
    host.is_drained = True
    host.save()
    [place] = post(client, "/api/v1/estimates", {"artifact": artifact.pk}).json()["places"]
    assert (place["fits"], place["why"]) == (False, "The host is being drained.")
    assert post(client, "/api/v1/estimates", {"artifact": artifact.pk, "options": {"x": 1}}).status_code == 422
