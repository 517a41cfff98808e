"""The lease: who looks after a row until when, who called meanwhile, and when somebody must look again.

The only implementation of claim, renew, release, note and reread; every kind of row goes through it.
"""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import models
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Now

# Longer than the 25 s after which a task is killed; a dead worker's row is taken over by the first sweep after it.
LEASE_S = 28


class Leased(models.Model):
    """The control loop's own columns."""

    # A worker whose lease ran out has an old epoch and can write nothing any more.
    epoch = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    # Counts the calls that found the row held, and how many of them the last holder had seen when it let go.
    wakes = models.PositiveIntegerField(default=0)
    wakes_seen = models.PositiveIntegerField(default=0)
    # Empty: nobody needs to look until somebody calls.
    next_due_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        abstract = True


R = TypeVar("R", bound=Leased)


def is_due(within_s: float = 0.0) -> Q:
    """Rows whose date has come, and rows that somebody called for without being seen."""
    return Q(next_due_at__lte=Now() + timedelta(seconds=within_s)) | Q(wakes__gt=F("wakes_seen"))


def claim(rows: "QuerySet[R]", pk: int) -> R | None:
    """Take the row for LEASE_S seconds, or None when somebody else holds it or it is gone.

    `rows` says how it is read. The returned row carries the new epoch. When the row is held, its holder is told to look
    once more, so that what woke us is not forgotten.
    """
    if _take(rows, pk):
        return rows.filter(pk=pk).first()
    if not call(rows, pk):
        return None
    # The holder may have let go between our try and our call, and then has not seen it.
    return rows.filter(pk=pk).first() if _take(rows, pk) else None


def _take(rows: "QuerySet[R]", pk: int) -> bool:
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    taken = _plain(rows).filter(free, pk=pk)
    return bool(taken.update(lease_until=Now() + timedelta(seconds=LEASE_S), epoch=F("epoch") + 1))


def call(rows: "QuerySet[R]", pk: int) -> bool:
    """Have whoever holds the row, or the next one who does, look once more. False: it is gone."""
    return bool(_plain(rows).filter(pk=pk).update(wakes=F("wakes") + 1))


def renew(row: Leased) -> bool:
    """Another LEASE_S seconds; False when the claim is lost."""
    return bool(_held(row).update(lease_until=Now() + timedelta(seconds=LEASE_S)))


def reread(rows: "QuerySet[R]", row: R) -> R | None:
    """The row as it is now, with what `rows` reads along; None when the claim is lost or the row gone."""
    fresh = rows.filter(pk=row.pk).first()
    return fresh if fresh is not None and fresh.epoch == row.epoch else None


def refresh(row: models.Model) -> None:
    """Read the row's columns anew, but not the epoch: a claim that was lost meanwhile does not come back so."""
    epoch = row.epoch if isinstance(row, Leased) else None
    row.refresh_from_db()
    if isinstance(row, Leased) and epoch is not None:
        row.epoch = epoch


def release(row: Leased, due_in_s: float | None) -> bool:
    """Give the row back and say when to look again; None: only when somebody calls.

    `row` carries `next_due_at` and `wakes` as the last decision saw them. True: somebody called for it meanwhile.
    """
    due = Value(None) if due_in_s is None else Now() + timedelta(seconds=due_in_s)
    # A date that was set since, by a request or by the step itself (a retry after a crash), stays.
    date = Case(
        When(_unchanged_due(row.next_due_at), then=due), default=F("next_due_at"), output_field=models.DateTimeField()
    )
    _held(row).update(next_due_at=date, lease_until=None, wakes_seen=row.wakes)
    return _of(row).filter(wakes__gt=F("wakes_seen")).exists()


def put_back(row: Leased) -> bool:
    """Give the row back as it was found: it stays due, for whoever can look after it."""
    return bool(_held(row).update(lease_until=None, wakes=F("wakes") + 1))


def note(row: Leased, **columns: Any) -> bool:
    """Write columns that are no state (seen, due, missing ...), while the claim holds."""
    changed = _held(row).update(**columns)
    for name, value in columns.items():
        setattr(row, name, value)
    return bool(changed)


def _unchanged_due(seen: datetime | None) -> Q:
    """Rows whose due date is still the one that was seen, or none.

    Within a millisecond: SQLite's own clock writes three digits and Django six, so equal dates differ as texts.
    """
    if seen is None:
        return Q(next_due_at=None)
    millisecond = timedelta(milliseconds=1)
    return Q(next_due_at=None) | Q(next_due_at__gt=seen - millisecond, next_due_at__lt=seen + millisecond)


def _plain(rows: "QuerySet[R]") -> "QuerySet[R]":
    return rows.model._default_manager.all()


def _of(row: R) -> "QuerySet[R]":
    return type(row)._default_manager.filter(pk=row.pk)


def _held(row: R) -> "QuerySet[R]":
    return _of(row).filter(epoch=row.epoch)
