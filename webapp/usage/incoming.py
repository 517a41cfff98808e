"""Records as the gateways send them: read with care, and inserted so that one knows which were new."""

import math
import uuid
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from webapp.usage.models import UsageRecord

MOST_NUMBER = 2**31 - 1
MOST_ID = 2**63 - 1
# How a request ends whose client left: it was served until then, though the gateway's record says 499.
CLIENT_GONE = "client_gone"
# A statement takes 65,535 values on PostgreSQL and 32,766 on SQLite.
AT_ONCE = 500


def read(record: dict[str, Any]) -> UsageRecord | None:
    """The row, or None for what can not be stored at all: a malformed one must not block the good ones for ever."""
    try:
        identity = uuid.UUID(str(record["id"]))
        at = datetime.fromtimestamp(float(record["at"]), UTC)
        status = int(record["status"])
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    if not 0 <= status <= 999:
        return None
    outcome = _text(record.get("outcome"), 20)
    return UsageRecord(
        id=identity,
        at=at,
        key_id=_whole(record.get("key"), MOST_ID),
        user_id=_whole(record.get("user"), MOST_ID),
        team_id=_whole(record.get("team"), MOST_ID),
        deployment_id=_whole(record.get("deployment"), MOST_ID),
        # Records that waited on disk for this version say "replica".
        replica_id=_whole(record.get("replica_id", record.get("replica")), MOST_ID),
        endpoint=_text(record.get("endpoint"), 60),
        request_id=_text(record.get("request_id"), 80),
        status=status,
        outcome=outcome,
        has_failed=outcome != CLIENT_GONE and (outcome != "ok" or status >= 400),
        is_stream=bool(record.get("stream")),
        prompt_tokens=_whole(record.get("prompt_tokens")),
        completion_tokens=_whole(record.get("completion_tokens")),
        counted_by=_text(record.get("counted_by"), 10),
        ttft_ms=_measure(record.get("ttft_ms")),
        duration_ms=_measure(record.get("duration_ms")),
        max_gap_ms=_measure(record.get("max_gap_ms")),
        bytes_out=_whole(record.get("bytes_out"), MOST_ID) or 0,
    )


def insert(rows: list[UsageRecord]) -> list[UsageRecord]:
    """Insert what is not there yet; returns those rows.

    The database says which: two gateways' deliveries of one record, even at the same moment, make one row and one
    answer. (`bulk_create(ignore_conflicts=True)` does not tell.)
    """
    unique = {row.pk: row for row in rows}
    # In the order of ids, so that two transactions never wait for each other in a circle.
    ordered = [unique[key] for key in sorted(unique)]
    fresh: list[UsageRecord] = []
    for start in range(0, len(ordered), AT_ONCE):
        piece = ordered[start : start + AT_ONCE]
        fresh += [unique[key] for key in _insert(piece)]
    return fresh


def _insert(rows: list[UsageRecord]) -> list[uuid.UUID]:
    fields = UsageRecord._meta.concrete_fields
    table = UsageRecord._meta.db_table
    one = f"({', '.join(['%s'] * len(fields))})"
    values = [field.get_db_prep_save(getattr(row, field.attname), connection) for row in rows for field in fields]
    with connection.cursor() as cursor:
        # Only names of columns are put together here.
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(str(field.column) for field in fields)}) "  # noqa: S608
            f"VALUES {', '.join([one] * len(rows))} ON CONFLICT (id) DO NOTHING RETURNING id",
            values,
        )
        return [uuid.UUID(str(identity)) for (identity,) in cursor.fetchall()]


def _whole(value: object, most: int = MOST_NUMBER) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _measure(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(value: object, most: int) -> str:
    # PostgreSQL stores no NUL.
    return str(value or "").replace("\0", "")[:most]
