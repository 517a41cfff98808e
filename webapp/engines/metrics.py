"""An engine's own metrics (Prometheus text) in our words; each engine brings the names of its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Our words for what an engine tells of this moment ...
RUNNING, WAITING, CACHE = "requests_running", "requests_waiting", "kv_cache_percent"
# ... and for the growth of what it counts.
PROMPT_TOKENS, COMPLETION_TOKENS = "prompt_tokens_per_s", "completion_tokens_per_s"


@dataclass(frozen=True, slots=True)
class Metrics:
    """How one engine names its numbers, and where it tells them.

    gauges: its name -> our word and the factor to our unit. counters: its name -> our word for its growth per second.
    """

    gauges: Mapping[str, tuple[str, float]]
    counters: Mapping[str, str] = field(default_factory=dict)
    path: str = "/metrics"


_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+([-+0-9.eE]+)", re.MULTILINE)
# No engine counts this far.
_MOST = 1e18


def gauges(text: str, names: Metrics) -> dict[str, float]:
    """What holds at this moment; values of several workers of one engine add up, shares are averaged."""
    found: dict[str, list[float]] = {}
    for name, value in _values(text):
        if name in names.gauges:
            ours, factor = names.gauges[name]
            found.setdefault(ours, []).append(value * factor)
    return {
        name: sum(values) / len(values) if name.endswith("_percent") else sum(values) for name, values in found.items()
    }


def requests_at_work(text: str, names: Metrics) -> int | None:
    """Running and waiting requests together; None when the text says nothing of them."""
    found = gauges(text, names)
    counts = [found[name] for name in (RUNNING, WAITING) if name in found]
    return int(sum(counts)) if counts else None


def counters(text: str, names: Metrics) -> dict[str, float]:
    """What only grows, by the name of its rate."""
    found: dict[str, float] = {}
    for name, value in _values(text):
        if name in names.counters:
            ours = names.counters[name]
            found[ours] = found.get(ours, 0.0) + value
    return found


def rates(before: Mapping[str, float], now: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Growth per second. A counter that shrank began anew: nothing is known of it until the next time."""
    if seconds <= 0:
        return {}
    return {name: (now[name] - before[name]) / seconds for name in now if name in before and now[name] >= before[name]}


def _values(text: str) -> list[tuple[str, float]]:
    """The lines with a number that can be counted on: sums and rates of it stay finite, as JSON must be."""
    found = []
    for name, number in _LINE.findall(text):
        try:
            value = float(number)
        except ValueError:
            continue
        if abs(value) < _MOST:
            found.append((name, value))
    return found
