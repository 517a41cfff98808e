"""What this process has counted, in Prometheus' text format."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

# Seconds. Wide, because a first token takes 20 ms on one machine and a minute on another.
TTFT_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
DURATION_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Histogram:
    """Counts per bucket for one label."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tally:
    """What is counted for one deployment. Plain numbers, because the hot path counts in them."""

    __slots__ = ("completion_tokens", "duration", "prompt_tokens", "requests", "ttft")

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int, str], int] = defaultdict(int)  # endpoint, status, outcome
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.ttft = Histogram(TTFT_BOUNDS)
        self.duration = Histogram(DURATION_BOUNDS)

    def count_answer(self, ttft_s: float) -> None:
        """For a request that got at least the first byte of an answer."""
        self.ttft.observe(ttft_s)

    def count_tokens(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        if prompt_tokens:
            self.prompt_tokens += prompt_tokens
        if completion_tokens:
            self.completion_tokens += completion_tokens


class Metrics:
    """`tallies` are by deployment, named team/deployment."""

    def __init__(self) -> None:
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.refused: defaultdict[str, int] = defaultdict(int)
        self.retries = 0
        self.relayed = 0
        self.tunnels = 0
        self.accepted = 0

    def render(self, gauges: Iterable[tuple[str, str, float]]) -> bytes:
        """`gauges` are (name, help, value) of the moment."""
        lines: list[str] = []
        _family(lines, "requests_total", "counter", "Inference requests by result")
        tallies = self.tallies
        for label, tally in sorted(tallies.items()):
            for (endpoint, status, outcome), count in sorted(tally.requests.items()):
                labels = f'deployment="{_escape(label)}",endpoint="{endpoint}",status="{status}",outcome="{outcome}"'
                lines.append(f"modelyard_gateway_requests_total{{{labels}}} {count}")
        prompts = {label: tally.prompt_tokens for label, tally in tallies.items()}
        answers = {label: tally.completion_tokens for label, tally in tallies.items()}
        _labelled(lines, "prompt_tokens_total", "Tokens in prompts", "deployment", prompts)
        _labelled(lines, "completion_tokens_total", "Tokens in answers", "deployment", answers)
        _labelled(lines, "refused_total", "Requests refused before a deployment was known", "code", self.refused)
        ttft = {label: tally.ttft for label, tally in tallies.items()}
        duration = {label: tally.duration for label, tally in tallies.items()}
        _histograms(lines, "time_to_first_token_seconds", "From the whole request to the first byte", ttft)
        _histograms(lines, "request_duration_seconds", "From the whole request to the last byte", duration)
        for name, value in (
            ("retries_total", self.retries),
            ("relayed_requests_total", self.relayed),
            ("tunnels_total", self.tunnels),
            ("connections_total", self.accepted),
        ):
            _family(lines, name, "counter", name.removesuffix("_total").replace("_", " "))
            lines.append(f"modelyard_gateway_{name} {value}")
        for name, help_text, gauge in gauges:
            _family(lines, name, "gauge", help_text)
            lines.append(f"modelyard_gateway_{name} {gauge:.12g}")
        return ("\n".join(lines) + "\n").encode()


def _family(lines: list[str], name: str, kind: str, help_text: str) -> None:
    lines.append(f"# HELP modelyard_gateway_{name} {help_text}")
    lines.append(f"# TYPE modelyard_gateway_{name} {kind}")


def _labelled(lines: list[str], name: str, help_text: str, label: str, counts: dict[str, int]) -> None:
    _family(lines, name, "counter", help_text)
    lines.extend(f'modelyard_gateway_{name}{{{label}="{_escape(key)}"}} {n}' for key, n in sorted(counts.items()))


def _histograms(lines: list[str], name: str, help_text: str, histograms: dict[str, Histogram]) -> None:
    _family(lines, name, "histogram", help_text)
    for label, histogram in sorted(histograms.items()):
        labels = f'deployment="{_escape(label)}"'
        running = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            running += count
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'modelyard_gateway_{name}_bucket{{{labels},le="{edge}"}} {running}')
        lines.append(f"modelyard_gateway_{name}_sum{{{labels}}} {histogram.total:.6f}")
        lines.append(f"modelyard_gateway_{name}_count{{{labels}}} {running}")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
