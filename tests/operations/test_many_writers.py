"""One SQLite file holds for a whole installation: eight processes that write at once are never told "locked"."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import figures

ROOT = Path(__file__).resolve().parents[2]
WRITERS = 8
LIMIT_MS = 250


def p99_ms(folder: Path, writes: int, seconds: float) -> float:
    """Let them write into a database of their own and hold what must add up; the 99th percentile of all writes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "DJANGO_"))}
    command = [sys.executable, "-m", "tests.operations.writer", str(WRITERS), str(writes), str(seconds)]
    surroundings = {**kept, "MODELYARD_STATE_DIR": str(folder / "state")}
    limit_s = seconds + 1800
    done = subprocess.run(command, env=surroundings, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    took_ms = said["took_ms"]
    p99 = float(took_ms[int(len(took_ms) * 0.99)])
    print(f"\n{len(took_ms)} writes of {WRITERS} processes: p50 {took_ms[len(took_ms) // 2]} ms, p99 {p99} ms")
    assert said["locked"] == []
    assert said["reserved"] == [0, 0]
    assert said["records"] == said["counted"] > 0
    assert all(wanted == there for wanted, there in said["replicas"])
    return p99


def test_eight_processes_write_at_once_and_none_is_told_that_the_database_is_locked(tmp_path: Path) -> None:
    assert p99_ms(tmp_path, writes=60, seconds=60) > 0


@pytest.mark.slow
def test_they_do_so_for_ten_minutes(tmp_path: Path) -> None:
    p99 = p99_ms(tmp_path, writes=10**9, seconds=float(os.environ.get("MODELYARD_TEST_WRITERS_S", "600")))
    figures.tell(f"99 of 100 writes while {WRITERS} processes write", p99, LIMIT_MS, "ms")
