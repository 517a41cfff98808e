"""Take in what the gateways counted, let go of what is old, and say what the last hour and all time came to."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone

from webapp.accounts.models import ApiKey, User
from webapp.catalog import services as catalog
from webapp.deployments.models import Deployment, Replica
from webapp.foundation.events import services as events
from webapp.usage import incoming, refusals, rollups
from webapp.usage.latency import quantile
from webapp.usage.models import TTFT_COLUMNS, Period, RefusalCount, Rollup, UsageRecord

RECORDS_KEPT_DAYS = int(os.environ.get("MODELYARD_USAGE_RECORDS_DAYS", "90"))
MINUTES_KEPT = timedelta(days=2)
# One call of `expire` removes at most so many rows: a long delete would hold up everybody who writes.
EXPIRE_AT_ONCE = 2000


def accept(records: Iterable[dict[str, Any]]) -> int:
    """Store a batch in one transaction. Records that are there already, by id, are counted once; returns how many came.

    The numbers of a key, person or deployment deleted since are kept. Counts of refusals come among them.
    """
    records = list(records)
    refused = refusals.accept(record for record in records if record.get("kind") == refusals.KIND)
    used = (record for record in records if record.get("kind") != refusals.KIND)
    rows = [row for row in map(incoming.read, used) if row is not None]
    if not rows:
        return refused
    with transaction.atomic():
        fresh = incoming.insert(rows)
        rollups.add(fresh)
        _touch_keys(fresh)
        _touch_replicas(fresh)
        events.publish(*{f"usage:{row.deployment_id}" for row in fresh if row.deployment_id})
    return len(rows) + refused


def expire(now: datetime | None = None) -> int:
    """Remove some of the records and minutes that are too old; the sums of hours and days stay. Returns how many."""
    now = now or timezone.now()
    old_records = UsageRecord.objects.filter(at__lt=now - timedelta(days=RECORDS_KEPT_DAYS)).order_by("at")
    old_minutes = Rollup.objects.filter(period=Period.MINUTE, at__lt=now - MINUTES_KEPT).order_by("at")
    old_refusals = RefusalCount.objects.filter(at__lt=now - timedelta(days=RECORDS_KEPT_DAYS)).order_by("at")
    removed = 0
    for model, rows in ((UsageRecord, old_records), (RefusalCount, old_refusals), (Rollup, old_minutes)):
        ids = list(rows.values_list("pk", flat=True)[:EXPIRE_AT_ONCE])
        if ids:
            # Nothing depends on these rows: no need to look for what does.
            removed += model._default_manager.filter(pk__in=ids)._raw_delete(using=rows.db)
    return removed


@dataclass(frozen=True)
class Rates:
    """What a deployment did in the last hour, the running minute included."""

    requests_per_min: float
    tokens_per_min: float
    ttft_ms_p50: float | None
    failed: int


def last_hour(user: User, now: datetime | None = None) -> dict[int, Rates]:
    """The rates of each deployment that the person sees, by its id; one query. Those without requests are absent."""
    since = rollups.start_of(Period.MINUTE, (now or timezone.now()) - timedelta(minutes=59))
    seen = Deployment.objects.visible_to(user).values("pk")
    rows = Rollup.objects.filter(period=Period.MINUTE, at__gte=since, deployment_id__in=seen)
    columns = ("requests", "failed", "prompt_tokens", "completion_tokens", *TTFT_COLUMNS)
    found = rows.values_list("deployment_id").annotate(**{f"sum_{name}": Sum(name) for name in columns})
    return {
        deployment_id: Rates(
            requests_per_min=requests / 60,
            tokens_per_min=(prompt + completion) / 60,
            ttft_ms_p50=quantile(classes, 0.5),
            failed=failed,
        )
        for deployment_id, requests, failed, prompt, completion, *classes in found
    }


@dataclass(frozen=True)
class Totals:
    """What a deployment served since this Modelyard began."""

    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int


def totals() -> dict[int, Totals]:
    """The counters of every deployment by its id, deleted ones too; one query over one row per deployment."""
    columns = ("requests", "failed", "prompt_tokens", "completion_tokens")
    rows = Rollup.objects.filter(period=Period.TOTAL).values_list("deployment_id", *columns)
    return {deployment_id: Totals(*sums) for deployment_id, *sums in rows}


def _touch_keys(rows: list[UsageRecord]) -> None:
    latest: dict[int, datetime] = {}
    for row in rows:
        if row.key_id:
            latest[row.key_id] = max(latest.get(row.key_id, row.at), row.at)
    for key_id, when in sorted(latest.items()):
        ApiKey.objects.filter(pk=key_id).update(last_used_at=Greatest(Coalesce("last_used_at", when), when))


def _touch_replicas(rows: list[UsageRecord]) -> None:
    """A request that an engine answered well proves the replica, so that no probe has to, and uses its files."""
    proven = {row.replica_id for row in rows if row.replica_id and row.outcome == "ok" and row.status < 400}
    if proven:
        replicas = Replica.objects.filter(pk__in=proven)
        replicas.update(proven_at=Now())
        used = replicas.values_list(Coalesce("revision__artifact", "deployment__artifact"), flat=True)
        catalog.note_use(list(used.distinct().order_by()))
