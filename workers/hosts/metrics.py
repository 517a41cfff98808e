"""How many requests an engine is working on, by its own metrics."""

import asyncio

from webapp.engines.base import ProbeSpec
from webapp.engines.metrics import Metrics, requests_at_work
from webapp.foundation.reach import Reach
from workers.hosts.asker import ask

TIMEOUT_S = 1.0


def running_requests(reach: Reach | None, names: Metrics | None) -> int | None:
    """Requests in work or waiting; None when the engine does not say."""
    if reach is None or names is None:
        return None
    outcome = asyncio.run(ask(reach, ProbeSpec("GET", names.path, timeout_s=TIMEOUT_S)))
    return requests_at_work(outcome.body.decode(errors="replace"), names) if outcome.status == 200 else None
