"""Sums of records: exact, whatever is delivered twice, late or at the same moment."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from webapp.accounts import services as accounts
from webapp.usage import latency, rollups, services
from webapp.usage.models import SUM_COLUMNS, Period, Rollup, UsageRecord

NOON = datetime(2026, 5, 17, 12, 30, 20, tzinfo=UTC)


def at(moment):
    return moment.timestamp()


@pytest.mark.django_db
def test_a_record_is_counted_in_its_minute_hour_day_and_for_ever(make_record, ada, team, deployment):
    key, _text = accounts.create_key(ada, team, "laptop")
    who = {"user": ada.pk, "team": team.pk, "deployment": deployment.pk, "key": key.pk}
    services.accept([make_record(at=at(NOON), **who)])
    services.accept([make_record(at=at(NOON + timedelta(minutes=5)), status=502, outcome="engine_failed", **who)])
    rows = {(row.period, row.at): row for row in Rollup.objects.all()}
    assert set(rows) == {
        ("minute", NOON.replace(second=0)),
        ("minute", NOON.replace(minute=35, second=0)),
        ("hour", NOON.replace(minute=0, second=0)),
        ("day", NOON.replace(hour=0, minute=0, second=0)),
        ("total", rollups.ALWAYS),
    }
    day = Rollup.objects.get(period=Period.DAY)
    assert (day.requests, day.failed, day.prompt_tokens, day.completion_tokens, day.ttft_1) == (2, 1, 22, 14, 2)
    assert (day.team_id, day.user_id, day.key_id, day.deployment_id) == (team.pk, ada.pk, key.pk, deployment.pk)
    minute = rows["minute", NOON.replace(second=0)]
    assert (minute.deployment_id, minute.team_id, minute.key_id, minute.requests) == (deployment.pk, 0, 0, 1)


@pytest.mark.django_db
def test_a_clients_own_mistake_is_listed_apart_and_counts_against_nobody(make_record, deployment):
    services.accept([make_record(deployment=deployment.pk, status=400, outcome="client_error")])
    listed = UsageRecord.objects
    assert (listed.mistaken().count(), listed.failed().count(), listed.served().count()) == (1, 0, 0)
    assert services.totals()[deployment.pk].failed == 0
    services.accept([make_record(deployment=deployment.pk, status=503, outcome="refused")])
    assert services.totals()[deployment.pk].failed == 1


@pytest.mark.django_db
def test_records_that_waited_on_disk_for_this_version_keep_their_replica(make_record):
    services.accept([make_record(replica=7)])
    services.accept([make_record(replica_id=8)])
    assert set(UsageRecord.objects.values_list("replica_id", flat=True)) == {7, 8}


@pytest.mark.django_db
def test_what_is_delivered_twice_is_summed_once(make_record, deployment):
    batch = [make_record(deployment=deployment.pk) for _ in range(7)]
    services.accept(batch)
    services.accept([*batch, make_record(deployment=deployment.pk)])
    services.accept([batch[0], batch[0]])
    assert UsageRecord.objects.count() == 8
    assert services.totals()[deployment.pk] == services.Totals(8, 0, 88, 56)


@pytest.mark.django_db(transaction=True)
def test_two_deliveries_of_the_same_records_at_the_same_moment_are_summed_once(make_record, deployment):
    batch = [make_record(deployment=deployment.pk) for _ in range(40)]
    gate = threading.Barrier(4)

    def deliver(records):
        gate.wait()
        try:
            services.accept(records)
        finally:
            connection.close()

    orders = (batch, batch[::-1], batch[20:] + batch[:20], batch)
    threads = [threading.Thread(target=deliver, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert UsageRecord.objects.count() == 40
    assert services.totals()[deployment.pk].requests == 40


@pytest.mark.django_db
def test_a_failed_transaction_leaves_neither_records_nor_sums(make_record, deployment, monkeypatch):
    def broken(*names):
        raise RuntimeError

    monkeypatch.setattr(services.events, "publish", broken)
    with pytest.raises(RuntimeError):
        services.accept([make_record(deployment=deployment.pk)])
    assert not UsageRecord.objects.exists()
    assert not Rollup.objects.exists()


@pytest.mark.django_db
def test_records_without_anybody_are_summed_too(make_record):
    services.accept([make_record(), make_record(prompt_tokens=None, completion_tokens=None, ttft_ms=None)])
    day = Rollup.objects.get(period=Period.DAY)
    assert (day.requests, day.prompt_tokens, day.team_id, day.key_id) == (2, 11, 0, 0)


def test_the_columns_of_sums_end_with_the_classes_of_latency():
    assert len(SUM_COLUMNS) - latency.CLASSES == rollups.FIRST_TTFT
    assert SUM_COLUMNS[rollups.FIRST_TTFT] == "ttft_0"


@pytest.mark.parametrize(
    ("times", "share", "low", "high"),
    [
        ([], 0.5, None, None),
        ([15.0] * 10, 0.5, 10, 20),
        ([1.0] * 99 + [4000.0], 0.5, 0, 10),
        ([1.0] * 99 + [4000.0], 1.0, 2000, 5000),
        ([10.0], 1.0, 10, 10),
        ([90_000.0], 0.5, 30_000, 30_000),
    ],
)
def test_a_quantile_lies_in_the_class_of_the_true_one(times, share, low, high):
    counts = [0] * latency.CLASSES
    for time in times:
        counts[latency.class_of(time)] += 1
    found = latency.quantile(counts, share)
    if low is None:
        assert found is None
    else:
        assert low <= found <= high
