"""Signs of life: each long-running process writes one row now and then; health and metrics read them."""

import os
import resource
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from webapp.operations.models import Heartbeat

EVERY_S = 15.0
# Two sweeps may be late before anybody worries.
STALE_S = 45.0
# Which processes a Modelyard has that say that they live; a gateway says it on its own socket.
PROCESSES = ("worker", "beat", "watcher")
_STARTED = time.time()
_MACHINE = socket.gethostname()
_PAGE_BYTES = resource.getpagesize()


def beat(name: str, **facts: Any) -> None:
    """This process lives. One row is written."""
    Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now(), "facts": {**_own(), **facts}})


def ages(now: datetime | None = None) -> dict[str, float]:
    """Seconds since each process's last sign of life; who never gave one is not named."""
    now = now or timezone.now()
    return {row.name: max(0.0, (now - row.at).total_seconds()) for row in Heartbeat.objects.all()}


def lively() -> list[str]:
    """The processes that gave a sign of life just now and were not ended since, as far as this machine can see."""
    now = timezone.now()
    fresh = Heartbeat.objects.filter(at__gt=now - timedelta(seconds=STALE_S))
    return sorted(row.name for row in fresh if not _is_gone(row.facts))


def _is_gone(facts: dict[str, Any]) -> bool:
    return facts.get("machine") == _MACHINE and not Path(f"/proc/{facts.get('pid')}").exists()


def _own() -> dict[str, Any]:
    """What is known about this process for free."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    return {
        "pid": os.getpid(),
        "machine": _MACHINE,
        "started_at": _STARTED,
        "rss_bytes": resident,
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
    }
