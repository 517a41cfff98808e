"""Compare the sums with the records they came from, and make them anew."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Min, Sum
from django.utils import timezone

from webapp.usage import rollups
from webapp.usage.models import GROUP_COLUMNS, SUM_COLUMNS, Period, Rollup, UsageRecord
from webapp.usage.rollups import Group, Sums
from webapp.usage.services import MINUTES_KEPT, RECORDS_KEPT_DAYS

# Rows of these periods can be made from records; minutes go after two days.
_EXACT = (Period.HOUR, Period.DAY)


def days(now: datetime | None = None) -> Iterator[datetime]:
    """The days whose records are all there: from the one after the retention's edge to today."""
    now = now or timezone.now()
    edge = rollups.start_of(Period.DAY, now - timedelta(days=RECORDS_KEPT_DAYS)) + timedelta(days=1)
    oldest = UsageRecord.objects.aggregate(at=Min("at"))["at"]
    if oldest is None:
        return
    day = max(edge, rollups.start_of(Period.DAY, oldest))
    while day <= now:
        yield day
        day += timedelta(days=1)


def differing(day: datetime) -> int:
    """How many of the day's sums are not what its records add up to."""
    with transaction.atomic():
        _keep_others_out()
        wanted, there = _wanted(day), _there(day)
    return sum(not _same(wanted.get(group), there.get(group)) for group in wanted.keys() | there.keys())


def rebuild(day: datetime, now: datetime | None = None) -> None:
    """Replace the day's sums by what its records add up to; recent minutes too."""
    end = day + timedelta(days=1)
    with_minutes = day > (now or timezone.now()) - MINUTES_KEPT
    periods = (*_EXACT, Period.MINUTE) if with_minutes else _EXACT
    with transaction.atomic():
        _keep_others_out()
        Rollup.objects.filter(period__in=periods, at__gte=day, at__lt=end).delete()
        rollups.store({group: amounts for group, amounts in _sums(day).items() if group[0] in periods})


def rebuild_totals() -> None:
    """Make the sums of all time from those of the days."""
    with transaction.atomic():
        _keep_others_out()
        days = Rollup.objects.filter(period=Period.DAY).values_list("deployment_id")
        found: dict[Group, Sums] = {
            (Period.TOTAL.value, rollups.ALWAYS, deployment_id, 0, 0, 0, ""): list(amounts)
            for deployment_id, *amounts in days.annotate(**{f"sum_{name}": Sum(name) for name in SUM_COLUMNS})
        }
        Rollup.objects.filter(period=Period.TOTAL).delete()
        rollups.store(found)


def _sums(day: datetime) -> dict[Group, Sums]:
    records = UsageRecord.objects.filter(at__gte=day, at__lt=day + timedelta(days=1))
    return rollups.sums(records.iterator(chunk_size=2000))


def _wanted(day: datetime) -> dict[Group, Sums]:
    return {group: amounts for group, amounts in _sums(day).items() if group[0] in _EXACT}


def _there(day: datetime) -> dict[Group, Sums]:
    rows = Rollup.objects.filter(period__in=_EXACT, at__gte=day, at__lt=day + timedelta(days=1))
    size = len(GROUP_COLUMNS)
    return {row[:size]: list(row[size:]) for row in rows.values_list(*GROUP_COLUMNS, *SUM_COLUMNS)}


def _same(wanted: Sums | None, there: Sums | None) -> bool:
    """Equal counts; sums of milliseconds may differ in the last digits, by the order of adding."""
    if wanted is None or there is None:
        return False
    return all(abs(one - other) <= 1e-6 * max(1.0, abs(one)) for one, other in zip(wanted, there, strict=True))


def _keep_others_out() -> None:
    """SQLite lets one transaction write at a time anyway; on PostgreSQL the records that come in wait for us."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {Rollup._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
