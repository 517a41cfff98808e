"""Promises as figures: a test tells what it measured on its way, `make bench` and `make soak` judge it."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

# Where those who judge want the figures of the tests that they run.
VARIABLE = "MODELYARD_FIGURES"


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured and what it must not exceed, in one unit. `detail` is for people."""

    what: str
    value: float
    must: float
    unit: str
    detail: str = ""

    @property
    def is_held(self) -> bool:
        return self.value <= self.must

    @property
    def verdict(self) -> str:
        return "held" if self.is_held else "MISSED"

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        measured = f"{self.value:.3g}{unit}" if self.value == self.value else "-"
        detail = f"  ({self.detail})" if self.detail else ""
        return f"{self.what:<70} {measured:>16}  must {self.must:g}{unit}  {self.verdict}{detail}"


def tell(what: str, value: float, must: float, unit: str, detail: str = "") -> None:
    """Print a figure and note it for who judges. It never fails a test: how long something takes is the machine's."""
    note(Figure(what, value, must, unit, detail))


def note(figure: Figure) -> None:
    """As `tell`."""
    print(figure)
    if where := os.environ.get(VARIABLE):
        with Path(where).open("a") as file:
            file.write(json.dumps(asdict(figure)) + "\n")


def told(where: Path) -> list[Figure]:
    """What was noted there."""
    return [Figure(**json.loads(line)) for line in where.read_text().splitlines()] if where.exists() else []


def missing(what: str, reason: str) -> Figure:
    """Stands for figures that nobody told: what was not measured does not count as held."""
    return Figure(what, float("nan"), 0, "", reason)


def report(figures: Sequence[Figure], path: Path, title: str) -> int:
    """Print the table, the count last; write it to `path` as Markdown. The exit status: 1 when one is missed."""
    held = sum(figure.is_held for figure in figures)
    count = f"{held} held, {len(figures) - held} MISSED"
    print("\n" + "\n".join([*map(str, figures), count]), flush=True)
    now = datetime.now(UTC).isoformat(timespec="minutes")
    machine = f"{now}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    lines = [f"# {title}", "", machine, "", "| what | must | measured | |", "|---|---|---|---|"]
    for figure in figures:
        measured = "not measured" if figure.value != figure.value else f"{figure.value:.3g} {figure.unit}".strip()
        detail = f" ({figure.detail})" if figure.detail else ""
        lines.append(f"| {figure.what} | {figure.must:g} {figure.unit} | {measured}{detail} | {figure.verdict} |")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*lines, "", count, ""]))
    return 0 if held == len(figures) else 1
