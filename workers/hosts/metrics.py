"""How many requests an engine is working on, by its own metrics."""

import asyncio
import re

from webapp.engines.base import ProbeSpec
from webapp.foundation.reach import Reach
from workers.hosts.asker import ask

# llama.cpp, vLLM, SGLang and TGI in turn: running and waiting requests both keep an engine from being stopped.
_BUSY = re.compile(
    r"^(?:llamacpp:requests_processing|llamacpp:requests_deferred|vllm:num_requests_running|vllm:num_requests_waiting"
    r"|sglang:num_running_reqs|sglang:num_queue_reqs|tgi_batch_current_size|tgi_queue_size)(?:\{[^}]*\})?\s+([0-9.eE+-]+)",
    re.MULTILINE,
)


PROBE = ProbeSpec("GET", "/metrics", timeout_s=1.0)


def running_requests(reach: Reach | None) -> int | None:
    """Requests in work or waiting; None when the engine does not say."""
    if reach is None:
        return None
    outcome = asyncio.run(ask(reach, PROBE))
    return parse(outcome.body.decode(errors="replace")) if outcome.status == 200 else None


def parse(text: str) -> int | None:
    """The sum of all gauges of requests in a Prometheus text; None when it has none that is a number."""
    values = []
    for number in _BUSY.findall(text):
        try:
            values.append(int(float(number)))
        except (ValueError, OverflowError):
            continue
    return sum(values) if values else None
