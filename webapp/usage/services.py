"""Take in what the gateways counted."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce, Greatest, Now

from webapp.accounts.models import ApiKey, Team, User
from webapp.deployments.models import Deployment, Replica
from webapp.events import services as events
from webapp.usage.models import UsageRecord


def accept(records: Iterable[dict[str, Any]]) -> int:
    """Store a batch in one transaction. Records that are there already, by id, are counted once; returns how many came.

    A record that names a key, person or deployment deleted since is kept without the name.
    """
    batch = [record for record in records if _is_sound(record)]
    if not batch:
        return 0
    known = {
        "key": _existing(ApiKey.objects.all(), batch, "key"),
        "user": _existing(User.objects.all(), batch, "user"),
        "team": _existing(Team.objects.all(), batch, "team"),
        "deployment": _existing(Deployment.objects.all(), batch, "deployment"),
    }
    rows = [_row(record, known) for record in batch]
    with transaction.atomic():
        UsageRecord.objects.bulk_create(rows, ignore_conflicts=True, batch_size=200)
        _touch_keys(batch, known["key"])
        _touch_replicas(batch)
        events.publish(*{f"usage:{record['deployment']}" for record in batch if record.get("deployment")})
    return len(batch)


def _is_sound(record: dict[str, Any]) -> bool:
    """Whether the record can be stored at all; a malformed one must not block the good ones behind it for ever."""
    try:
        uuid.UUID(str(record["id"]))
        datetime.fromtimestamp(float(record["at"]), UTC)
        int(record["status"])
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return False
    return True


def _existing(rows: Any, batch: list[dict[str, Any]], name: str) -> set[int]:
    wanted = {record[name] for record in batch if isinstance(record.get(name), int)}
    return set(rows.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()


def _row(record: dict[str, Any], known: dict[str, set[int]]) -> UsageRecord:
    named = {f"{name}_id": record.get(name) if record.get(name) in ids else None for name, ids in known.items()}
    return UsageRecord(
        id=uuid.UUID(str(record["id"])),
        at=datetime.fromtimestamp(float(record["at"]), UTC),
        replica_number=record.get("replica"),
        endpoint=str(record.get("endpoint", ""))[:60],
        request_id=str(record.get("request_id", ""))[:80],
        status=int(record["status"]),
        outcome=str(record.get("outcome", ""))[:20],
        is_stream=bool(record.get("stream")),
        prompt_tokens=record.get("prompt_tokens"),
        completion_tokens=record.get("completion_tokens"),
        counted_by=str(record.get("counted_by") or "")[:10],
        ttft_ms=record.get("ttft_ms"),
        duration_ms=record.get("duration_ms"),
        max_gap_ms=record.get("max_gap_ms"),
        bytes_out=record.get("bytes_out") or 0,
        **named,
    )


def _touch_keys(batch: list[dict[str, Any]], known: set[int]) -> None:
    latest: dict[int, float] = {}
    for record in batch:
        if record.get("key") in known:
            latest[record["key"]] = max(latest.get(record["key"], 0.0), float(record["at"]))
    for key_id, at in sorted(latest.items()):
        when = datetime.fromtimestamp(at, UTC)
        ApiKey.objects.filter(pk=key_id).update(last_used_at=Greatest(Coalesce("last_used_at", when), when))


def _touch_replicas(batch: list[dict[str, Any]]) -> None:
    """A request that an engine answered well proves the replica, so that no probe has to."""
    proven = {r["replica"] for r in batch if r.get("replica") and r.get("outcome") == "ok" and int(r["status"]) < 400}
    if proven:
        Replica.objects.filter(pk__in=proven).update(proven_at=Now())
