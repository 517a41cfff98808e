"""When schedules fire and when they may begin."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from webapp.schedules.timing import Timing, Trigger

BERLIN, GREENWICH = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_interval_counts_from_its_beginning_and_leaves_missed_times_out():
    every = Timing(Trigger.INTERVAL, GREENWICH, interval_minutes=90)
    assert every.next_due(utc("2026-11-22 10:00"), utc("2026-11-22 10:00")) == utc("2026-11-22 11:30")
    # The machine was off for two days: one time is next, not thirty.
    assert every.next_due(utc("2026-11-24 10:10"), utc("2026-11-22 10:00")) == utc("2026-11-24 11:30")


def test_a_source_is_looked_at_every_hour():
    look = Timing(Trigger.NEW_COMMIT, GREENWICH)
    assert look.next_due(utc("2026-11-22 10:20")) == utc("2026-11-22 11:20")


@pytest.mark.parametrize(
    ("opens", "shuts", "at", "expected"),
    [
        (time(22), time(6), "2026-11-22 23:00", "2026-11-22 23:00"),
        (time(22), time(6), "2026-11-22 03:00", "2026-11-22 03:00"),
        (time(22), time(6), "2026-11-22 06:00", "2026-11-22 22:00"),
        (time(22), time(6), "2026-11-22 12:00", "2026-11-22 22:00"),
        (time(1), time(5), "2026-11-22 12:00", "2026-11-23 01:00"),
        (time(1), time(5), "2026-11-22 00:30", "2026-11-22 01:00"),
        (None, None, "2026-11-22 12:00", "2026-11-22 12:00"),
    ],
)
def test_work_begins_only_while_the_window_is_open(opens, shuts, at, expected):
    timing = Timing(Trigger.CRON, GREENWICH, "0 * * * *", opens=opens, shuts=shuts)
    assert timing.opening(utc(at)) == utc(expected)
    assert timing.is_open(utc(at)) is (at == expected)


def test_a_window_is_meant_in_local_time():
    timing = Timing(Trigger.CRON, BERLIN, "0 * * * *", opens=time(22), shuts=time(6))
    assert timing.is_open(utc("2026-11-22 21:00"))  # 22:00 in Berlin
    assert not timing.is_open(utc("2026-11-22 05:00"))  # 06:00


@pytest.mark.parametrize(("line", "never"), [("0 12 * * *", True), ("0 12,23 * * *", False)])
def test_a_window_that_no_time_of_the_crontab_meets_is_noticed(line, never):
    timing = Timing(Trigger.CRON, BERLIN, line, opens=time(22), shuts=time(6))
    assert timing.never_meets_window(utc("2026-11-22 00:00")) is never


def test_what_is_upcoming_ends_at_the_limit_that_comes_first():
    daily = Timing(Trigger.CRON, GREENWICH, "0 2 * * *")
    found = daily.upcoming(utc("2026-11-23 02:00"), utc("2026-11-29 23:00"), 100)
    assert [at.day for at in found] == [23, 24, 25, 26, 27, 28, 29]
    assert len(daily.upcoming(utc("2026-11-23 02:00"), utc("2027-11-29 23:00"), 5)) == 5
