"""Which suites `make test` runs, and when."""

from typing import Any

import pytest

from tests import run


class Beside:
    """A suite that would run in a process of its own."""

    def __init__(self, suite: str, _more: list[str]) -> None:
        self.suite = suite

    def finish(self) -> tuple[int, float]:
        return 1, 0.0


def test_a_suite_that_runs_beside_another_counts_in_whatever_order_they_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "Beside", Beside)
    monkeypatch.setattr(run, "run_suite", lambda *_suite: 0)
    for names in (["docker", "browser"], ["browser", "docker"]):
        results: dict[str, Any] = run.run_suites(names, [], None)
        assert {suite: code for suite, (code, _seconds) in results.items()} == {"docker": 1, "browser": 0}
