"""Every promise is a row of `make bench` and `make soak`: how often each test failed, beside what it measured."""

import pytest

from tests.parts import figures


class Verdicts:
    """A pytest plugin: one figure for each test function, however many cases it has. A skipped case is no success."""

    def __init__(self) -> None:
        self._cases: dict[str, set[str]] = {}
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        function = report.nodeid.partition("[")[0]
        self._cases.setdefault(function, set()).add(report.nodeid)
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        for function, cases in self._cases.items():
            failed = len(cases - (self._passed - self._failed))
            figures.tell(in_words(function), failed, 0, "failed", f"of {len(cases)}" if len(cases) > 1 else "")


def in_words(function: str) -> str:
    """tests/a/test_b.py::test_nothing_is_lost as its sentence."""
    return function.rpartition("::")[2].removeprefix("test_").replace("_", " ")
