"""`python -m tests.bench.gateway`: what the gateway costs beside nginx's proxy_pass, in the same run.

The two take turns in short rounds, so that a machine that is busy or slow for a while hits both. A figure is the median
of the rounds' ratios. Results are printed and written to test-output/gateway-bench.json. With --beside the gateway of
another checkout is measured in turn with this one, and what is told is what this one costs of what that one costs.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench.gateway.stage import NOISE, REPOSITORY, Stage, Subject, build
from tests.parts import figures as told

RESULTS = "test-output/gateway-bench.json"


@dataclass
class Figure:
    """One line of the table. `values` are per round; for ratios `ours` and `theirs` are microseconds of CPU."""

    name: str
    unit: str
    must: float
    aim: float
    values: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def is_held(self) -> bool:
        return self.value <= self.must

    @property
    def detail(self) -> str:
        """What was divided by what, where it is a ratio."""
        if not self.ours:
            return ""
        return f"{statistics.median(self.ours):.1f} us beside {statistics.median(self.theirs):.1f} us"


def measure(stage: Stage, rounds: int) -> list[Figure]:
    """All figures, round by round."""
    json_cpu = Figure("CPU per JSON request", "x nginx", 2.2, 1.5)
    stream_cpu = Figure("CPU per stream of 128 chunks", "x nginx", 1.25, 1.05)
    token_cpu = Figure("CPU per token, 1000 slow streams", "x nginx", 1.3, 1.1)
    latency = Figure("added latency p50, one client", "ms", 0.5, 0.2)
    for number in range(rounds):
        for figure, request in ((json_cpu, "json"), (stream_cpu, "stream")):
            compare(figure, *(busy(stage, subject, request) for subject in (stage.nginx, stage.gateway)))
        compare(token_cpu, *(slow_streams(stage, subject) for subject in (stage.nginx, stage.gateway)))
        direct = stage.load(stage.engine_port, "json", 1, 0.7)["p50_us"]
        through = stage.load(stage.gateway.port, "json", 1, 0.7)["p50_us"]
        latency.values.append((through - direct) / 1000)
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
    memory = Figure("memory (PSS)", "MB", 100, 60, values=[stage.gateway.memory_bytes() / 1e6])
    return [json_cpu, stream_cpu, token_cpu, latency, memory, reuse(stage)]


def busy(stage: Stage, subject: Subject, request: str) -> float:
    """Microseconds of CPU per request, 32 clients that never pause."""
    before = subject.cpu_s()
    result = stage.load(subject.port, request, 32, 1.5)
    return (subject.cpu_s() - before) / result["finished"] * 1e6


def slow_streams(stage: Stage, subject: Subject) -> float:
    """Microseconds of CPU per token, 1000 streams of 20 tokens a second each."""
    before = subject.cpu_s()
    result = stage.load(subject.slow_port, "slow", 1000, 4, ramp_ms=800)
    return (subject.cpu_s() - before) / result["tokens"] * 1e6


def compare(figure: Figure, theirs: float, ours: float) -> None:
    figure.theirs.append(theirs)
    figure.ours.append(ours)
    figure.values.append(ours / theirs)


def reuse(stage: Stage) -> Figure:
    """Connections per request: the fault that triples the cost and leaves every answer right."""
    opened = stage.metric("upstream_connections_opened")
    finished = stage.metric("usage_records")
    return Figure("engine connections per request", "", 0.2, 0.1, values=[opened / finished])


def table(figures: list[Figure]) -> str:
    """For people."""
    lines = [f"{'':34} {'measured':>10} {'must':>7} {'aim':>7}"]
    for figure in figures:
        shown = f"{figure.value:.3g} {figure.unit}".strip()
        verdict = "held" if figure.is_held else "MISSED"
        lines.append(f"{figure.name:34} {shown:>10} {figure.must:>7g} {figure.aim:>7g}  {verdict}  {figure.detail}")
    return "\n".join(lines)


def write(figures: list[Figure], path: Path) -> None:
    """For programs, with what the figures depend on."""
    path.parent.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()}
    results = [{**asdict(figure), "value": figure.value, "held": figure.is_held} for figure in figures]
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"at": at, "machine": machine, "figures": results}, indent=1) + "\n")


def beside(other: Path, rounds: int) -> list[told.Figure]:
    """Each figure of this checkout as a share of the other's: the median of rounds in which both are measured."""
    ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        ours, theirs = (one_round(checkout) for checkout in (REPOSITORY, other))
        for name, value in ours.items():
            ratios.setdefault(name, []).append(value / theirs[name])
    return [
        told.Figure(f"gateway beside another checkout: {name}", statistics.median(values), NOISE, "x")
        for name, values in ratios.items()
    ]


def one_round(checkout: Path) -> dict[str, float]:
    """What one round in that checkout measured, in microseconds or the figure's own unit."""
    (checkout / RESULTS).unlink(missing_ok=True)  # a round that fails leaves none
    subprocess.run([sys.executable, "-m", "tests.bench.gateway", "--rounds", "1"], cwd=checkout, stdout=sys.stderr)
    found = json.loads((checkout / RESULTS).read_text())["figures"]
    return {one["name"]: statistics.median(one["ours"] or one["values"]) for one in found}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="more rounds, less noise; about 20 s each")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout of this repository")
    arguments = parser.parse_args()
    if arguments.beside:
        for one in beside(arguments.beside.resolve(), arguments.rounds):
            told.note(one)
        return 0
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder, build(Path(folder)) as stage:
        figures = measure(stage, arguments.rounds)
    print(table(figures))
    write(figures, REPOSITORY / RESULTS)
    for figure in figures:
        told.note(told.Figure(f"gateway: {figure.name}", figure.value, figure.must, figure.unit, figure.detail))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
