"""Promises of time as figures: a test prints what it measured on its way, `make bench` alone judges it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

# Where `make bench` wants the figures of the tests that it runs.
VARIABLE = "MODELYARD_FIGURES"


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured and the limit it is held against, in the same unit."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.holds else "MISSED"
        return f"{self.what:<58} {self.value:>9.2f} {self.unit:<8} limit {self.limit:g}  {verdict}"


def tell(what: str, value: float, limit: float, unit: str) -> None:
    """Print a figure and note it for `make bench`. It never fails a test: how long something takes is the machine's."""
    figure = Figure(what, value, limit, unit)
    print(figure)
    if where := os.environ.get(VARIABLE):
        with Path(where).open("a") as file:
            file.write(json.dumps(asdict(figure)) + "\n")


def told(where: Path) -> list[Figure]:
    """What was noted there."""
    return [Figure(**json.loads(line)) for line in where.read_text().splitlines()] if where.exists() else []
