"""Which days a report is about. Whole days in UTC. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

NAMES = {
    "today": "Today",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "month": "This month",
    "last_month": "Last month",
    "custom": "From … to …",
}
MOST_DAYS = 1100


@dataclass(frozen=True)
class Range:
    """From the first day to the last, both included."""

    name: str
    first: date
    last: date

    @property
    def begins_at(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def ends_at(self) -> datetime:
        """The first moment that is not in it any more."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def is_hourly(self) -> bool:
        """Whether a chart shows hours: a day or two would be a bar or two."""
        return self.days <= 2


def between(name: str, today: date, first: date | None = None, last: date | None = None) -> Range:
    """The range of this name. `custom` takes what is given: a missing end is today, a missing start six days before.

    Raises ValueError with words for people.
    """
    if name == "today":
        return Range(name, today, today)
    if name in ("7d", "30d"):
        return Range(name, today - timedelta(days=int(name[:-1]) - 1), today)
    if name == "month":
        return Range(name, today.replace(day=1), today)
    if name == "last_month":
        end = today.replace(day=1) - timedelta(days=1)
        return Range(name, end.replace(day=1), end)
    if name != "custom":
        raise ValueError(f"There is no range {name!r}. Choose among {', '.join(NAMES)}.")
    return _custom(first, last, today)


def _custom(first: date | None, last: date | None, today: date) -> Range:
    last = last or max(today, first or today)
    first = first or last - timedelta(days=6)
    if first > last:
        raise ValueError("The first day is after the last one.")
    if first.year < 2000 or last.year > 2999:
        raise ValueError("Choose days between the years 2000 and 2999.")
    if (last - first).days >= MOST_DAYS:
        raise ValueError(f"Choose at most {MOST_DAYS} days.")
    return Range("custom", first, last)
