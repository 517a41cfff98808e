"""Is all of this Modelyard at work? Each part with what is wrong. Asked often, so answers are kept for a moment."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import redis
from django.conf import settings
from django.db import DatabaseError, connection

from webapp.operations import gateway_metrics, heartbeats

KEPT_S = 2.0
SNAPSHOT_STALE_S = 15.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `what` says what is wrong or how fresh it is, without secrets. `age_s` is None where it has none."""

    is_ok: bool
    what: str
    age_s: float | None = None


_lock = threading.Lock()
_kept: tuple[float, dict[str, Part]] | None = None


def parts() -> dict[str, Part]:
    """Every part by its name, at most two seconds old. Never raises."""
    global _kept
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] > KEPT_S:
            _kept = (time.monotonic(), look())
        return _kept[1]


def look() -> dict[str, Part]:
    """Ask every part now."""
    return {**_database(), "broker": _broker(), **_gateways()}


def _database() -> dict[str, Part]:
    """The database, and what the processes wrote into it; unknown when it does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        ages = heartbeats.ages()
    except DatabaseError:
        silent = Part(False, "unknown while the database does not answer")
        return {"database": Part(False, "does not answer"), **dict.fromkeys(heartbeats.PROCESSES, silent)}
    return {"database": Part(True, "answers"), **{name: _process(ages.get(name)) for name in heartbeats.PROCESSES}}


def _process(age: float | None) -> Part:
    if age is None:
        return Part(False, "gave no sign of life yet")
    age = round(age, 1)
    return Part(age < heartbeats.STALE_S, f"last sign of life {age:.0f} s ago", age)


def _broker() -> Part:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
    try:
        client.ping()
    except redis.RedisError:
        return Part(False, "does not answer")
    finally:
        client.close()
    return Part(True, "answers")


def _gateways() -> dict[str, Part]:
    """How old the news of this machine's gateways are; absent where none runs on this machine."""
    ages = gateway_metrics.snapshot_ages()
    if not ages:
        return {}
    oldest = round(max(ages.values()), 1)
    return {"gateway": Part(oldest < SNAPSHOT_STALE_S, f"heard from web {oldest:.0f} s ago", oldest)}
