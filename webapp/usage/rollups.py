"""Sums of usage records per minute, hour, day and for ever. Added to in the transaction that stores the records."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection

from webapp.usage.latency import CLASSES, class_of
from webapp.usage.models import GROUP_COLUMNS, SUM_COLUMNS, Period, Rollup, UsageRecord

# period, at, deployment, team, user, key, endpoint
Group = tuple[str, datetime, int, int, int, int, str]
# In the order of SUM_COLUMNS.
Sums = list[float]

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_TTFT = len(SUM_COLUMNS) - CLASSES


def add(records: Iterable[UsageRecord]) -> None:
    """Count these records. Only inside the transaction that inserts them, and only those that were really inserted."""
    store(sums(records))


def sums(records: Iterable[UsageRecord]) -> dict[Group, Sums]:
    """What the records add up to, per group."""
    found: dict[Group, Sums] = defaultdict(lambda: [0] * len(SUM_COLUMNS))
    for record in records:
        amounts = _amounts(record)
        for group in _groups(record):
            total = found[group]
            for place, amount in amounts:
                total[place] += amount
    return found


def store(found: dict[Group, Sums]) -> None:
    """Add the sums to the rows: one statement per group, which makes the row or adds to it.

    Sorted, so that two transactions that touch the same rows never wait for each other in a circle.
    """
    if not found:
        return
    known = {field.column: field for field in Rollup._meta.concrete_fields}
    fields = [known[name] for name in (*GROUP_COLUMNS, *SUM_COLUMNS)]
    rows = [
        [field.get_db_prep_save(value, connection) for field, value in zip(fields, (*group, *amounts), strict=True)]
        for group, amounts in sorted(found.items())
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT, rows)


def start_of(period: Period, at: datetime) -> datetime:
    """When the period began that `at` is in."""
    at = at.astimezone(UTC)
    if period == Period.TOTAL:
        return ALWAYS
    at = at.replace(second=0, microsecond=0)
    if period == Period.MINUTE:
        return at
    return at.replace(minute=0) if period == Period.HOUR else at.replace(hour=0, minute=0)


def _groups(record: UsageRecord) -> Iterable[Group]:
    deployment = record.deployment_id or 0
    who = (record.team_id or 0, record.user_id or 0, record.key_id or 0)
    for period in (Period.HOUR, Period.DAY):
        yield (period.value, start_of(period, record.at), deployment, *who, record.endpoint)
    for period in (Period.MINUTE, Period.TOTAL):
        yield (period.value, start_of(period, record.at), deployment, 0, 0, 0, "")


def _amounts(record: UsageRecord) -> list[tuple[int, float]]:
    amounts: list[tuple[int, float]] = [
        (0, 1),
        (1, int(record.was_failed)),
        (2, record.prompt_tokens or 0),
        (3, record.completion_tokens or 0),
        (4, record.bytes_out),
        (5, record.duration_ms or 0.0),
    ]
    if record.ttft_ms is not None:
        amounts.append((FIRST_TTFT + class_of(record.ttft_ms), 1))
    return amounts


def _upsert() -> str:
    columns = [*GROUP_COLUMNS, *SUM_COLUMNS]
    table = Rollup._meta.db_table
    changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUM_COLUMNS)
    # Only names of columns are put together here.
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(GROUP_COLUMNS)}) DO UPDATE SET {changes}"
    )


_UPSERT = _upsert()
