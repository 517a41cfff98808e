"""Records from the gateways."""

import json
import time
import uuid

import pytest
from django.test import Client

from webapp import secrets
from webapp.accounts import services as accounts
from webapp.deployments.models import Replica
from webapp.usage import services
from webapp.usage.models import UsageRecord

pytestmark = pytest.mark.django_db


def record(**more):
    return {
        "id": uuid.uuid4().hex,
        "at": time.time(),
        "key": None,
        "user": None,
        "team": None,
        "deployment": None,
        "replica": None,
        "endpoint": "chat/completions",
        "status": 200,
        "outcome": "ok",
        "stream": True,
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "counted_by": "engine",
        "ttft_ms": 12.5,
        "duration_ms": 80.0,
        **more,
    }


def test_a_record_delivered_twice_is_counted_once(deployment, ada, team):
    one = record(user=ada.pk, team=team.pk, deployment=deployment.pk)
    services.accept([one])
    services.accept([one, record()])
    assert UsageRecord.objects.count() == 2
    stored = UsageRecord.objects.get(pk=one["id"])
    assert (stored.user, stored.deployment, stored.prompt_tokens) == (ada, deployment, 11)


def test_a_record_of_a_deleted_deployment_is_kept_without_its_name():
    services.accept([record(deployment=4711, key=4711, user=4711, team=4711)])
    stored = UsageRecord.objects.get()
    assert (stored.deployment_id, stored.key_id, stored.user_id, stored.team_id) == (None, None, None, None)


@pytest.mark.parametrize(
    "broken", [{"id": "no uuid"}, {"at": "yesterday"}, {"at": 1e300}, {"status": "fine"}, {"id": None}]
)
def test_a_malformed_record_does_not_block_the_others(broken):
    assert services.accept([record(**broken), record()]) == 1
    assert UsageRecord.objects.count() == 1


def test_a_served_request_says_when_the_key_was_used_and_proves_the_replica(ada, team, deployment):
    key, _text = accounts.create_key(ada, team, "laptop")
    replica = deployment.replicas.get()
    at = time.time() - 5
    services.accept([record(key=key.pk, replica=replica.pk, at=at), record(key=key.pk, at=at - 60)])
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert abs(key.last_used_at.timestamp() - at) < 0.01
    assert Replica.objects.get(pk=replica.pk).proven_at is not None


def test_a_failed_request_proves_nothing(deployment):
    replica = deployment.replicas.get()
    services.accept([record(replica=replica.pk, status=502, outcome="engine_failed")])
    assert Replica.objects.get(pk=replica.pk).proven_at is None


def test_the_gateways_doors_do_not_exist_for_others(client: Client):
    for path in ("/internal/gateway/snapshot", "/internal/gateway/usage"):
        answer = client.get(path) if path.endswith("snapshot") else client.post(path, "{}", "application/json")
        assert answer.status_code == 404


def test_the_snapshot_is_sent_once_per_version(client: Client, ada, team, deployment):
    secret = {"X-Modelyard-Internal": secrets.derive("internal").hex()}
    accounts.create_key(ada, team, "laptop")
    answer = client.get("/internal/gateway/snapshot?version=none", headers=secret)
    snapshot = answer.json()
    assert answer.status_code == 200
    assert [key["user"] for key in snapshot["keys"]] == [ada.pk]
    assert [(d["name"], d["desired"], d["replicas"]) for d in snapshot["deployments"]] == [
        (deployment.name, "running", [])
    ]
    current = client.get(f"/internal/gateway/snapshot?version={snapshot['version']}", headers=secret)
    assert current.status_code == 304
    accounts.create_key(ada, team, "another")
    assert client.get(f"/internal/gateway/snapshot?version={snapshot['version']}", headers=secret).status_code == 200


def test_the_snapshot_takes_the_same_queries_for_many_deployments(
    client: Client, deployment, make_deployment, django_assert_num_queries
):
    secret = {"X-Modelyard-Internal": secrets.derive("internal").hex()}
    for number in range(10):
        make_deployment(f"more-{number}", replicas=2)
    with django_assert_num_queries(8):
        client.get("/internal/gateway/snapshot?version=none", headers=secret)


def test_usage_is_acknowledged_after_it_is_stored(client: Client):
    secret = {"X-Modelyard-Internal": secrets.derive("internal").hex()}
    body = json.dumps({"records": [record(), "nonsense", record()]})
    answer = client.post("/internal/gateway/usage", body, "application/json", headers=secret)
    assert answer.json() == {"accepted": 2}
    assert UsageRecord.objects.count() == 2
    assert client.post("/internal/gateway/usage", "[1]", "application/json", headers=secret).status_code == 400
