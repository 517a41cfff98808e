"""Samples: one per moment, thinned out without loss, and let go of."""

from datetime import UTC, datetime, timedelta

import pytest

from webapp.samples import services
from webapp.samples.measures import RESOLUTIONS
from webapp.samples.models import Sample
from webapp.samples.services import Reading

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def kept(resolution_s):
    rows = Sample.objects.filter(resolution_s=resolution_s).order_by("at", "subject_id")
    return [(row.at, row.subject_id, row.values) for row in rows]


def test_a_round_of_readings_is_one_row_each_at_a_whole_moment(django_assert_num_queries):
    with django_assert_num_queries(1):
        services.record([Reading("host", 1, {"cpu_cores": 1.5}), Reading("replica", 7, {"cpu_cores": 0.25})], at(13.7))
    assert kept(10) == [(at(10), 1, {"cpu_cores": 1.5}), (at(10), 7, {"cpu_cores": 0.25})]


def test_a_second_watcher_in_the_same_moment_changes_nothing():
    services.record([Reading("host", 1, {"cpu_cores": 1.5})], at(10))
    services.record([Reading("host", 1, {"cpu_cores": 9.0})], at(19))
    assert kept(10) == [(at(10), 1, {"cpu_cores": 1.5})]


def test_a_reading_without_values_is_no_sample():
    services.record([Reading("host", 1, {})], NOON)
    assert not Sample.objects.exists()


def test_minutes_and_ten_minutes_are_averages_of_what_is_there():
    for second in range(0, 1300, 10):
        values = {"cpu_cores": float(second // 10 % 6)} | ({"memory_bytes": 100.0} if second == 0 else {})
        services.record([Reading("replica", 7, values)], at(second))
        services.thin_out(at(second))
    minutes = kept(60)
    assert minutes[0] == (at(0), 7, {"cpu_cores": 2.5, "memory_bytes": 100.0})
    assert minutes[1:3] == [(at(60), 7, {"cpu_cores": 2.5}), (at(120), 7, {"cpu_cores": 2.5})]
    assert len(minutes) == 21
    assert [moment for moment, _subject, _values in kept(600)] == [at(0), at(600)]
    assert kept(600)[0][2] == {"cpu_cores": 2.5, "memory_bytes": 100.0}


def test_a_minute_is_not_summed_up_before_it_is_over():
    for second in range(0, 60, 10):
        services.record([Reading("host", 1, {"cpu_cores": 1.0})], at(second))
    services.thin_out(at(59))
    services.thin_out(at(60 + services.SLACK_S - 1))
    assert kept(60) == []
    services.thin_out(at(60 + services.SLACK_S))
    services.thin_out(at(60 + services.SLACK_S))
    assert kept(60) == [(at(0), 1, {"cpu_cores": 1.0})]


def test_after_a_long_break_nothing_is_lost():
    for second in (0, 10, 70, 4000, 4010):
        services.record([Reading("host", 1, {"cpu_cores": 1.0})], at(second))
    services.thin_out(at(4100))
    assert [moment for moment, _subject, _values in kept(60)] == [at(0), at(60), at(3960)]
    assert [moment for moment, _subject, _values in kept(600)] == [at(0)]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_each_resolution_goes_when_its_time_is_over(resolution):
    for seconds in (resolution.kept_s - 5, resolution.kept_s + 5):
        moment = NOON - timedelta(seconds=seconds)
        Sample.objects.create(kind="host", subject_id=1, resolution_s=resolution.every_s, at=moment, values={"x": 1.0})
    services.thin_out(NOON)
    left = Sample.objects.filter(
        resolution_s=resolution.every_s, at__lte=NOON - timedelta(seconds=resolution.kept_s - 5)
    )
    assert [row.at for row in left] == [NOON - timedelta(seconds=resolution.kept_s - 5)]


def test_one_call_removes_only_some(monkeypatch):
    monkeypatch.setattr(services, "EXPIRE_AT_ONCE", 3)
    Sample.objects.bulk_create(
        Sample(kind="host", subject_id=number, resolution_s=600, at=NOON - timedelta(days=90)) for number in range(5)
    )
    services.thin_out(NOON)
    assert Sample.objects.count() == 2


def test_the_latest_values_in_one_query_and_only_fresh_ones(django_assert_num_queries):
    services.record([Reading("replica", 7, {"cpu_cores": 1.0}), Reading("replica", 8, {"cpu_cores": 5.0})], at(0))
    services.record([Reading("replica", 7, {"cpu_cores": 2.0})], at(50))
    with django_assert_num_queries(1):
        found = services.latest("replica", [7, 8, 9], at(70))
    assert found == {7: {"cpu_cores": 2.0}}
