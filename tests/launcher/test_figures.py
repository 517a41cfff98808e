"""What `make bench` and `make soak` make of figures."""

import math
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.groups import GROUPS
from tests.parts import figures
from tests.parts.verdicts import Verdicts

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_counts_what_is_held_and_missed_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [figures.Figure("quick", 0.5, 1, "s"), figures.Figure("slow", 3, 2, "x", "3 us beside 1 us")]
    assert figures.report(found[:1], tmp_path / "one.md", "one") == 0
    assert figures.report([*found, figures.missing("lost", "ended with 2")], tmp_path / "all.md", "all") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 held, 2 MISSED"
    assert (tmp_path / "all.md").read_text().splitlines()[6:] == [
        "| quick | 1 s | 0.5 s | held |",
        "| slow | 2 x | 3 x (3 us beside 1 us) | MISSED |",
        "| lost | 0  | not measured (ended with 2) | MISSED |",
        "",
        "1 held, 2 MISSED",
    ]


def test_what_a_test_tells_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(figures.VARIABLE, str(tmp_path / "notes"))
    figures.tell("commit to the screen", 0.2, 1, "s")
    assert figures.told(tmp_path / "notes") == [figures.Figure("commit to the screen", 0.2, 1, "s")]
    assert figures.told(tmp_path / "nothing") == []


def test_what_was_not_measured_is_not_held() -> None:
    assert math.isnan(figures.missing("lost", "").value) and not figures.missing("lost", "").is_held


def test_a_case_that_failed_or_was_skipped_or_could_not_begin_counts_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = Verdicts()
    for case, steps in {
        "good": [("setup", "passed"), ("call", "passed"), ("teardown", "passed")],
        "bad": [("setup", "passed"), ("call", "failed"), ("teardown", "passed")],
        "late": [("setup", "passed"), ("call", "passed"), ("teardown", "failed")],
        "skipped": [("setup", "skipped"), ("teardown", "passed")],
        "broken": [("setup", "failed"), ("teardown", "passed")],
    }.items():
        for when, outcome in steps:
            name = f"tests/a/test_b.py::test_nothing_is_lost[{case}]"
            report = pytest.TestReport(name, ("", 0, ""), {}, outcome, None, when)  # type: ignore[arg-type]
            verdicts.pytest_runtest_logreport(report)
    monkeypatch.setenv(figures.VARIABLE, str(tmp_path / "notes"))
    verdicts.pytest_sessionfinish()
    assert figures.told(tmp_path / "notes") == [figures.Figure("nothing is lost", 4, 0, "failed", "of 5")]


def test_a_module_that_crashed_after_its_first_figure_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half.py").write_text(
        "from tests.parts import figures\nfigures.note(figures.Figure('first', 1, 2, 's'))\nraise RuntimeError\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    first, second = bench.measure(["half"])
    assert first.is_held and not second.is_held
    assert (first.what, second.what) == ("first", "half")


@pytest.mark.parametrize("source", [source for group in GROUPS.values() for source in group], ids=lambda one: one[-1])
def test_every_source_of_a_figure_is_there(source: list[str]) -> None:
    """A test that was renamed would be missed only by whoever measures next."""
    file, _, name = source[-1].partition("::")
    if source[0] != "pytest":
        path = ROOT / source[0].replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    else:
        assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text()
