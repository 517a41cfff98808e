"""Crontab lines: what they mean, in summer and in winter, and which are refused."""

from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from webapp.schedules import crontab
from webapp.schedules.crontab import BadCrontab

GREENWICH = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # changes by half an hour


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def next_of(line: str, after: str, zone: ZoneInfo = GREENWICH) -> str:
    return crontab.parse(line).after(utc(after), zone).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("line", "after", "expected"),
    [
        ("0 2 * * *", "2026-11-22 01:59:59", "2026-11-22 02:00"),
        ("0 2 * * *", "2026-11-22 02:00:00", "2026-11-23 02:00"),
        ("*/15 * * * *", "2026-11-22 10:44", "2026-11-22 10:45"),
        ("5/20 * * * *", "2026-11-22 10:26", "2026-11-22 10:45"),
        ("30 9 * * mon-fri", "2026-11-20 09:30", "2026-11-23 09:30"),
        ("0 0 * * 7", "2026-11-16 00:00", "2026-11-22 00:00"),
        ("0 0 * * SUN", "2026-11-16 00:00", "2026-11-22 00:00"),
        ("0 0 1 jan *", "2026-11-22 00:00", "2027-01-01 00:00"),
        ("0 0 29 2 *", "2026-11-22 00:00", "2028-02-29 00:00"),
        # Both days restricted: the 13th or any Friday. With a star, both must hold.
        ("0 0 13 * fri", "2026-11-22 00:00", "2026-11-27 00:00"),
        ("0 0 */13 * fri", "2026-11-22 00:00", "2026-11-27 00:00"),
        ("0 12 31 * *", "2026-11-01 00:00", "2026-12-31 12:00"),
        ("@daily", "2026-11-22 12:00", "2026-11-23 00:00"),
        ("1,3,5-7 0 * * *", "2026-11-22 00:05", "2026-11-22 00:06"),
    ],
)
def test_the_next_time_is_the_first_one_strictly_after(line, after, expected):
    assert next_of(line, after) == expected


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("0 0 31 2 *", "never comes"),
        ("0 0 30 feb *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("* * * *", "Five fields"),
        ("", "Five fields"),
        ("@reboot", "Five fields"),
        ("5-1 * * * *", "ends before"),
        ("*/0 * * * *", "step"),
        ("*-5 * * * *", "no end"),
        ("1.5 * * * *", "minute"),
        ("99999999999999999999 * * * *", "minute"),
        ("² * * * *", "minute"),
        ("00000099 * * * *", "minute"),
        ("* * * * *; rm -rf /", "Five fields"),
    ],
)
def test_a_line_that_says_nothing_or_never_comes_is_refused_in_words(line, word):
    with pytest.raises(BadCrontab, match=word):
        crontab.parse(line)


def test_an_hour_that_is_left_out_counts_at_the_change():
    # Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
    assert next_of("30 2 * * *", "2026-03-28 12:00", BERLIN) == "2026-03-29 01:00"
    assert next_of("30 2 * * *", "2026-03-29 01:00", BERLIN) == "2026-03-30 00:30"


def test_many_times_in_the_hour_that_is_left_out_fire_once():
    found = list(islice(crontab.parse("*/20 2,3 * * *").times(utc("2026-03-28 23:00"), BERLIN), 4))
    assert [at.strftime("%H:%M") for at in found] == ["01:00", "01:20", "01:40", "00:00"]


def test_an_hour_that_comes_twice_counts_once():
    # Berlin, 25 October 2026: 02:30 is at 00:30 and again at 01:30 UTC.
    assert next_of("30 2 * * *", "2026-10-24 12:00", BERLIN) == "2026-10-25 00:30"
    assert next_of("30 2 * * *", "2026-10-25 00:30", BERLIN) == "2026-10-26 01:30"


def test_a_change_by_half_an_hour_is_found_to_the_minute():
    # Lord Howe, 4 October 2026: 02:00 becomes 02:30 at 15:30 UTC of the day before.
    assert next_of("10 2 * * *", "2026-10-03 12:00", LORD_HOWE) == "2026-10-03 15:30"


def test_times_only_ever_grow_over_a_whole_year_of_changes():
    found = list(islice(crontab.parse("*/30 * * * *").times(utc("2026-01-01 00:00"), BERLIN), 17_000))
    assert all(one < other for one, other in pairwise(found))
    # A year has 17520 half hours; the hour that comes twice counts once.
    assert found[-1] < utc("2026-12-22 00:00")
