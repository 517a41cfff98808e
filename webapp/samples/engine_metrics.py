"""An engine's own metrics (Prometheus text) in our words. Pure.

Names: the documentation of llama.cpp (`--metrics`), vLLM, SGLang and TGI. llama.cpp no longer tells how full its KV
cache is.
"""

import re
from collections.abc import Mapping

# Engines whose /metrics are worth asking for.
ENGINES = frozenset({"llamacpp", "vllm", "sglang", "tgi"})

# Gauges: our name and the factor to our unit.
_GAUGES = {
    "llamacpp:requests_processing": ("requests_running", 1.0),
    "llamacpp:requests_deferred": ("requests_waiting", 1.0),
    "vllm:num_requests_running": ("requests_running", 1.0),
    "vllm:num_requests_waiting": ("requests_waiting", 1.0),
    "vllm:kv_cache_usage_perc": ("kv_cache_percent", 100.0),
    "sglang:num_running_reqs": ("requests_running", 1.0),
    "sglang:num_queue_reqs": ("requests_waiting", 1.0),
    "sglang:token_usage": ("kv_cache_percent", 100.0),
    "tgi_batch_current_size": ("requests_running", 1.0),
    "tgi_queue_size": ("requests_waiting", 1.0),
}
# Counters: what their growth per second is called.
_COUNTERS = {
    "llamacpp:prompt_tokens_total": "prompt_tokens_per_s",
    "llamacpp:tokens_predicted_total": "completion_tokens_per_s",
    "vllm:prompt_tokens_total": "prompt_tokens_per_s",
    "vllm:generation_tokens_total": "completion_tokens_per_s",
    "sglang:prompt_tokens_total": "prompt_tokens_per_s",
    "sglang:generation_tokens_total": "completion_tokens_per_s",
}
_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+([-+0-9.eE]+)", re.MULTILINE)
# No engine counts this far.
_MOST = 1e18


def gauges(text: str) -> dict[str, float]:
    """What holds at this moment; values of several workers of one engine add up, shares are averaged."""
    found: dict[str, list[float]] = {}
    for name, value in _values(text):
        if name in _GAUGES:
            ours, factor = _GAUGES[name]
            found.setdefault(ours, []).append(value * factor)
    return {
        name: sum(values) / len(values) if name.endswith("_percent") else sum(values) for name, values in found.items()
    }


def counters(text: str) -> dict[str, float]:
    """What only grows, by the name of its rate."""
    found: dict[str, float] = {}
    for name, value in _values(text):
        if name in _COUNTERS:
            found[_COUNTERS[name]] = found.get(_COUNTERS[name], 0.0) + value
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
