"""Records from the gateways."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from webapp.accounts import services as accounts
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
from webapp.foundation import secret_store
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS, ROUTES
from webapp.usage import services
from webapp.usage.models import Period, Rollup, UsageRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def record(make_record):
    return make_record


def test_a_record_delivered_twice_is_counted_once(record, deployment, ada, team):
    one = record(user=ada.pk, team=team.pk, deployment=deployment.pk)
    services.accept([one])
    services.accept([one, record()])
    assert UsageRecord.objects.count() == 2
    stored = UsageRecord.objects.get(pk=one["id"])
    assert (stored.user, stored.deployment, stored.prompt_tokens) == (ada, deployment, 11)


def test_a_record_of_what_was_deleted_keeps_its_numbers(record):
    services.accept([record(deployment=4711, key=4712, user=4713, team=4714)])
    stored = UsageRecord.objects.for_list().get()
    assert (stored.deployment_id, stored.key_id, stored.user_id, stored.team_id) == (4711, 4712, 4713, 4714)
    assert (stored.deployment, stored.key, stored.user, stored.team) == (None, None, None, None)


def test_deleting_a_key_leaves_what_it_used(record, ada, team):
    key, _text = accounts.create_key(ada, team, "laptop")
    services.accept([record(key=key.pk, team=team.pk, user=ada.pk)])
    number = key.pk
    key.delete()
    assert UsageRecord.objects.get().key_id == number


@pytest.mark.parametrize(
    "broken",
    [{"id": "no uuid"}, {"at": "yesterday"}, {"at": 1e300}, {"status": "fine"}, {"id": None}, {"status": 99_999}],
)
def test_a_malformed_record_does_not_block_the_others(record, broken):
    assert services.accept([record(**broken), record()]) == 1
    assert UsageRecord.objects.count() == 1


def test_a_served_request_says_when_the_key_was_used_and_proves_the_replica(record, ada, team, deployment):
    key, _text = accounts.create_key(ada, team, "laptop")
    replica = deployment.replicas.get()
    at = time.time() - 5
    services.accept([record(key=key.pk, replica_id=replica.pk, at=at), record(key=key.pk, at=at - 60)])
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert abs(key.last_used_at.timestamp() - at) < 0.01
    assert Replica.objects.get(pk=replica.pk).proven_at is not None


def test_a_failed_request_proves_nothing(record, deployment):
    replica = deployment.replicas.get()
    services.accept([record(replica_id=replica.pk, status=502, outcome="engine_failed")])
    assert Replica.objects.get(pk=replica.pk).proven_at is None


def test_the_gateways_doors_do_not_exist_for_others(client: Client):
    for path in ("/internal/gateway/snapshot", "/internal/gateway/usage"):
        answer = client.get(path) if path.endswith("snapshot") else client.post(path, "{}", "application/json")
        assert answer.status_code == 404


def test_the_snapshot_is_sent_once_per_version(client: Client, ada, team, deployment):
    secret = {"X-Modelyard-Internal": secret_store.derive("internal").hex()}
    accounts.create_key(ada, team, "laptop")

    def told(known: dict[str, str]) -> dict[str, Any]:
        answer = client.get("/internal/gateway/snapshot", known, headers=secret)
        assert answer.status_code in (200, 304)
        return answer.json() if answer.status_code == 200 else {}

    first = told({"principals": "", "routes": ""})
    assert [key["user"] for key in first["principals"]["keys"]] == [ada.pk]
    assert [(d["name"], d["desired"], d["replicas"]) for d in first["routes"]["deployments"]] == [
        (deployment.name, "running", [])
    ]
    known = {part: first[part]["version"] for part in first}
    assert told(known) == {}
    accounts.create_key(ada, team, "another")
    news = told(known)
    assert set(news) == {"principals"} and len(news["principals"]["keys"]) == 2
    known["principals"] = news["principals"]["version"]
    lifecycle.record_capabilities(deployment.replicas.first().pk, {"tools": True})
    assert set(told(known)) == {"routes"}


def test_a_replicas_move_sends_and_reads_no_key(client: Client, ada, team, deployment, django_assert_num_queries):
    """With ten thousand keys each move of each replica sent two megabytes to every gateway process."""
    secret = {"X-Modelyard-Internal": secret_store.derive("internal").hex()}
    for number in range(20):
        accounts.create_key(ada, team, f"key {number}")
    known = {"principals": events.version(PRINCIPALS), "routes": events.version(ROUTES)}
    lifecycle.record_capabilities(deployment.replicas.first().pk, {"tools": True})
    with CaptureQueriesContext(connection) as asked:
        answer = client.get("/internal/gateway/snapshot", known, headers=secret)
    assert set(answer.json()) == {"routes"}
    assert not any("apikey" in query["sql"] for query in asked)
    # Both numbers in one, then teams, deployments with their files, replicas, aliases, grants.
    assert len(asked) == 6
    accounts.create_key(ada, team, "one more")
    known["routes"] = events.version(ROUTES)
    with django_assert_num_queries(4):
        assert set(client.get("/internal/gateway/snapshot", known, headers=secret).json()) == {"principals"}


def test_the_snapshot_takes_the_same_queries_for_many_deployments(
    client: Client, deployment, make_deployment, django_assert_num_queries
):
    secret = {"X-Modelyard-Internal": secret_store.derive("internal").hex()}
    for number in range(10):
        make_deployment(f"more-{number}", replicas=2)
    with django_assert_num_queries(8):
        client.get("/internal/gateway/snapshot", headers=secret)


def test_usage_is_acknowledged_after_it_is_stored(record, client: Client):
    secret = {"X-Modelyard-Internal": secret_store.derive("internal").hex()}
    body = json.dumps({"records": [record(), "nonsense", record()]})
    answer = client.post("/internal/gateway/usage", body, "application/json", headers=secret)
    assert answer.json() == {"accepted": 2}
    assert UsageRecord.objects.count() == 2
    assert client.post("/internal/gateway/usage", "[1]", "application/json", headers=secret).status_code == 400


@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        ({"prompt_tokens": -5}, {"prompt_tokens": None}),
        ({"prompt_tokens": 2**40}, {"prompt_tokens": None}),
        ({"completion_tokens": "7"}, {"completion_tokens": None}),
        ({"ttft_ms": float("nan")}, {"ttft_ms": None}),
        ({"duration_ms": 10**400}, {"duration_ms": None}),
        ({"key": "3"}, {"key_id": None}),
        ({"deployment": 2**70}, {"deployment_id": None}),
        ({"request_id": "a\0b"}, {"request_id": "ab"}),
    ],
)
def test_a_value_that_makes_no_sense_is_left_out(record, odd, kept):
    assert services.accept([record(**odd), record()]) == 2
    assert UsageRecord.objects.filter(**kept).count() >= 1


def test_old_records_go_and_their_sums_stay(record, deployment):
    old = (timezone.now() - timedelta(days=services.RECORDS_KEPT_DAYS, minutes=1)).timestamp()
    services.accept([record(at=old, deployment=deployment.pk), record(deployment=deployment.pk)])
    assert services.expire() == 2  # the record and its minute
    assert services.expire() == 0
    assert UsageRecord.objects.count() == 1
    assert Rollup.objects.filter(period=Period.DAY).count() == 2
    assert services.totals()[deployment.pk].requests == 2


def test_one_sweep_removes_only_some(record, monkeypatch):
    monkeypatch.setattr(services, "EXPIRE_AT_ONCE", 3)
    services.accept([record(at=0) for _ in range(5)])
    services.expire()
    assert UsageRecord.objects.count() == 2


def test_the_last_hour_in_rates_and_one_query(record, ada, bob, eve, deployment, django_assert_num_queries):
    now = time.time()
    served = [record(deployment=deployment.pk, at=now - 60 * number, ttft_ms=150.0) for number in range(30)]
    services.accept([*served, record(deployment=deployment.pk, status=500, outcome="engine_failed", at=now)])
    services.accept([record(deployment=deployment.pk, at=now - 3 * 3600)])
    with django_assert_num_queries(1):
        found = services.last_hour(ada)
    assert set(found) == {deployment.pk}
    rates = found[deployment.pk]
    assert (rates.requests_per_min, rates.failed) == (31 / 60, 1)
    assert rates.tokens_per_min == 31 * 18 / 60
    assert 100 <= rates.ttft_ms_p50 <= 200
    assert services.last_hour(bob) == found
    assert services.last_hour(eve) == {}
