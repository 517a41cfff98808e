"""Crontab lines: five fields, read and reckoned with in a time zone. Pure.

Fields and their ranges are those of crontab(5): minute, hour, day of month, month, day of week (0 and 7 are Sunday),
with lists, ranges, steps and English short names. When both day fields are restricted, either one is enough.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
SHORT = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
# A 29 February that must be a given weekday comes after 40 years at the latest (a century without a leap day inside).
HORIZON_DAYS = 40 * 366 + 1
_PART = re.compile(r"(\*|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/([0-9]{1,4}))?")


class BadCrontab(ValueError):
    """The line says nothing, or a time that never comes."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """A line as sets of numbers. Weekdays count from Sunday, 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_any_day: bool
    is_any_weekday: bool

    def holds(self, day: date) -> bool:
        """Whether it fires on this day."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.is_any_day or self.is_any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def after(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The first time strictly after `moment`, in UTC. Raises BadCrontab when there is none in 40 years."""
        return next(self.times(moment, zone))

    def times(self, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """All times after `moment` in their order, in UTC.

        A local time that a clock change leaves out counts at the moment of the change; one that comes twice counts the
        first time only. Raises BadCrontab when there is none in 40 years.
        """
        last = moment.astimezone(UTC)
        day, left = moment.astimezone(zone).date(), HORIZON_DAYS
        while left > 0:
            if self.holds(day):
                for local in (_local(day, hour, minute) for hour in self.hours for minute in self.minutes):
                    there = _moment(local, zone)
                    if there > last:
                        last, left = there, HORIZON_DAYS
                        yield there
            try:
                day += timedelta(days=1)
            except OverflowError:
                break
            left -= 1
        raise BadCrontab("This time never comes: no such date exists.")


def parse(line: str) -> Crontab:
    """Read a line. Raises BadCrontab in words for people, also for dates that never come (31 February)."""
    words = line.strip().lower()
    fields = SHORT.get(words, words).split()
    if len(fields) != 5:
        raise BadCrontab("Five fields are needed: minute, hour, day of month, month, day of week; 0 2 * * * is 02:00.")
    minute, hour, day, month, weekday = fields
    found = Crontab(
        minutes=tuple(sorted(_numbers(minute, 0, 59, "minute"))),
        hours=tuple(sorted(_numbers(hour, 0, 23, "hour"))),
        days=frozenset(_numbers(day, 1, 31, "day of month")),
        months=frozenset(_numbers(month, 1, 12, "month", MONTHS, 1)),
        weekdays=frozenset(number % 7 for number in _numbers(weekday, 0, 7, "day of week", DAYS)),
        is_any_day=day.startswith("*"),
        is_any_weekday=weekday.startswith("*"),
    )
    found.after(datetime(2024, 1, 1, tzinfo=UTC), ZoneInfo("UTC"))
    return found


def _numbers(text: str, low: int, high: int, what: str, names: tuple[str, ...] = (), first: int = 0) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise BadCrontab(f"{part!r} is no {what}: write *, a number, a range 1-5, a step */15, or a list.")
        begin, end, step = match.groups()
        if begin == "*":
            if end is not None:
                raise BadCrontab(f"{part!r} is no {what}: * has no end.")
            start, stop = low, high
        else:
            start = _number(begin, low, high, what, names, first)
            stop = _number(end, low, high, what, names, first) if end else (high if step else start)
        if stop < start:
            raise BadCrontab(f"{part!r} is no {what}: the range ends before it begins.")
        if step is not None and int(step) == 0:
            raise BadCrontab(f"{part!r} is no {what}: a step is 1 at least.")
        found.update(range(start, stop + 1, int(step or 1)))
    return found


def _number(word: str, low: int, high: int, what: str, names: tuple[str, ...], first: int) -> int:
    if word in names:
        return names.index(word) + first
    if not word.isdigit() or len(word) > 6 or not low <= int(word) <= high:
        raise BadCrontab(f"{word!r} is no {what}: {low} to {high}.")
    return int(word)


def _local(day: date, hour: int, minute: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute)


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a local time in UTC. fold=0 (PEP 495) is the first of two, and before the change in a gap."""
    there = local.replace(tzinfo=zone).astimezone(UTC)
    if there.astimezone(zone).replace(tzinfo=None) == local:
        return there
    # In a gap: the change lies between the two readings of this time.
    low, high = local.replace(tzinfo=zone, fold=1).astimezone(UTC), there
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=int((high - low) / timedelta(minutes=2)))
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
    return high
