"""Write samples, make coarser ones of them, let go of old ones."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Max, Min
from django.utils import timezone

from webapp.samples.measures import FINEST_S, RESOLUTIONS
from webapp.samples.models import Sample

# A minute is summed up when it has been over for so long: another watcher may write its part a little later.
SLACK_S = 15
# So many rows go at once at most: nobody shall wait for a long delete.
EXPIRE_AT_ONCE = 2000
# A sample that is older says nothing about now.
FRESH_S = 60


class Reading(NamedTuple):
    """What was measured of one subject."""

    kind: str
    subject_id: int
    values: Mapping[str, float]


def record(readings: Iterable[Reading], now: datetime | None = None) -> None:
    """Store one round of readings in one short transaction; what is there for this moment stays."""
    at = floor(now or timezone.now(), FINEST_S)
    rows = [
        Sample(kind=kind, subject_id=subject, resolution_s=FINEST_S, at=at, values=_rounded(values))
        for kind, subject, values in readings
        if values
    ]
    if rows:
        Sample.objects.bulk_create(rows, ignore_conflicts=True)


def thin_out(now: datetime | None = None) -> None:
    """Sum up what is complete into coarser samples and remove what is too old. Safe to repeat, in one transaction."""
    now = now or timezone.now()
    with transaction.atomic():
        for fine, coarse in itertools.pairwise(RESOLUTIONS):
            _sum_up(fine.every_s, coarse.every_s, now)
        for resolution in RESOLUTIONS:
            old = Sample.objects.filter(
                resolution_s=resolution.every_s, at__lt=now - timedelta(seconds=resolution.kept_s)
            )
            ids = list(old.order_by("at").values_list("pk", flat=True)[:EXPIRE_AT_ONCE])
            if ids:
                Sample.objects.filter(pk__in=ids)._raw_delete(using=old.db)


def latest(kind: str, ids: Iterable[int], now: datetime | None = None) -> dict[int, dict[str, float]]:
    """The newest values of each subject, in one query; none for those that nothing fresh is known of."""
    since = (now or timezone.now()) - timedelta(seconds=FRESH_S)
    rows = Sample.objects.filter(kind=kind, subject_id__in=list(ids), resolution_s=FINEST_S, at__gte=since)
    return {row.subject_id: row.values for row in rows.order_by("at")}


def floor(at: datetime, seconds: int) -> datetime:
    """The last moment not after `at` that is a whole multiple of `seconds`."""
    whole = int(at.timestamp())
    return datetime.fromtimestamp(whole - whole % seconds, UTC)


def _sum_up(fine_s: int, coarse_s: int, now: datetime) -> None:
    until = floor(now - timedelta(seconds=SLACK_S), coarse_s)
    fine = Sample.objects.filter(resolution_s=fine_s)
    done = Sample.objects.filter(resolution_s=coarse_s).aggregate(at=Max("at"))["at"]
    since = done + timedelta(seconds=coarse_s) if done else fine.aggregate(at=Min("at"))["at"]
    if since is None or since >= until:
        return
    sums: dict[tuple[str, int, datetime], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in fine.filter(at__gte=since, at__lt=until).iterator():
        group = sums[row.kind, row.subject_id, floor(row.at, coarse_s)]
        for name, value in row.values.items():
            group[name].append(value)
    Sample.objects.bulk_create(
        (
            Sample(kind=kind, subject_id=subject, resolution_s=coarse_s, at=at, values=_averages(values))
            for (kind, subject, at), values in sums.items()
        ),
        ignore_conflicts=True,
        batch_size=500,
    )


def _averages(values: Mapping[str, list[float]]) -> dict[str, float]:
    return _rounded({name: sum(numbers) / len(numbers) for name, numbers in values.items()})


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Five digits are more than a chart shows."""
    return {name: float(f"{value:.5g}") for name, value in values.items()}
