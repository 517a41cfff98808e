"""Figures that tests measure on their way: here the tests run alone, and what they measured is held to its limit."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.parts import figures

ROOT = Path(__file__).resolve().parents[2]
TESTS = [
    "tests/cli/test_installed.py::test_help_loads_nothing_that_it_does_not_need",
    "tests/planner/test_placement.py::test_ten_times_the_hosts_cost_about_ten_times_as_much",
    "tests/dashboard/test_big_lists.py::test_a_thousand_rows_cost_the_queries_of_ten",
    "tests/operations/test_many_writers.py::test_they_do_so_for_ten_minutes",
    "tests/browser/test_pages.py::test_a_change_is_on_the_screen_of_an_open_page",
    "tests/workers/test_rollouts_live.py::test_an_edit_of_two_replicas_fails_no_request",
    "tests/workers/test_stack.py::test_without_the_watcher_the_sweep_finds_the_state",
    "tests/journey/test_d_breakage.py::test_killing_one_process_fails_no_request_and_heals",
    "tests/compose/test_compose.py::test_from_built_images_to_a_completion_through_the_tls_front",
    "tests/quantisation/test_progress_real.py::test_an_open_page_is_told_of_reports_while_the_tool_is_at_work",
    "tests/quantisation/test_chains_real.py::test_a_folder_becomes_a_measured_q4_k_m",
]


def measure(test: str) -> tuple[list[figures.Figure], int]:
    """What one test measured, and how it ended. Each has a process of its own: its neighbours would warm it."""
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        notes = Path(folder) / "figures.jsonl"
        environment = {**os.environ, figures.VARIABLE: str(notes), "MODELYARD_TEST_WRITERS_S": "60"}
        # Soak tests, too, where they are named.
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", test]
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr).returncode
        return figures.told(notes), code


def main() -> int:
    all_hold = True
    lines = []
    for test in TESTS:
        found, code = measure(test)
        lines += map(str, found)
        if code != 0 or not found:
            lines.append(f"no figure: {test} ended with {code}")
        all_hold = all_hold and code == 0 and bool(found) and all(figure.holds for figure in found)
    print("\n".join(lines))
    return 0 if all_hold else 1


if __name__ == "__main__":
    raise SystemExit(main())
