"""`make bench`: every figure, one after the other, each against what it must be; ONLY=gateway runs one group.

The last line counts them, the exit status is 1 when one is missed, and the table is written to var/bench.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.groups import GROUPS
from tests.parts import figures

# pytest's exit status when tests failed, which are rows of the table; a module of figures that ends so has crashed.
FAILED = 1
ROOT = Path(__file__).resolve().parents[2]


def measure(source: list[str]) -> list[figures.Figure]:
    """What one module or test told. Each has a process of its own: its neighbours would warm it."""
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        notes = Path(folder) / "figures.jsonl"
        # Shorter than in `make soak`, which asks the same tests.
        environment = {**os.environ, figures.VARIABLE: str(notes), "MODELYARD_TEST_WRITERS_S": "60"}
        code = subprocess.run([sys.executable, "-m", *source], cwd=ROOT, env=environment, stdout=sys.stderr).returncode
        found = figures.told(notes)
    was_measured = code == 0 or (code == FAILED and source[0] == "pytest")
    if not was_measured or not found:
        found.append(figures.missing(source[-1], f"ended with {code}"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=" ".join(GROUPS))
    groups = parser.parse_args().groups or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no group is called {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    found = []
    for group in groups:
        for source in GROUPS[group]:
            print(f"=== {group}: {source[-1]}", flush=True)
            found += measure(source)
    return figures.report(found, ROOT / "var" / "bench.md", f"`make bench`: {', '.join(groups)}")


if __name__ == "__main__":
    raise SystemExit(main())
