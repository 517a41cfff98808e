"""Answers as people read them."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from webapp.interfaces.cli import show

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("size_bytes", 144_811_072, "138 MiB"),
        ("size_bytes", 0, "0 B"),
        ("size_bytes", 1536, "1.5 KiB"),
        ("timeout_s", 7200, "2 h"),
        ("is_drained", False, "no"),
        ("name", None, "-"),
        ("scopes", ["read", "manage"], "read, manage"),
        ("replicas", [{}, {}], "2"),
        ("progress", 0.5, "0.50"),
        ("options", {"a": 1}, '{"a": 1}'),
        ("name", "evil\x1b[2J\n", "evil [2J "),
    ],
)
def test_a_value_is_shown_by_what_its_field_is_called(name, value, text):
    assert show.cell(name, value) == text


@pytest.mark.parametrize(
    ("away", "text"), [(timedelta(minutes=-3), "3 min ago"), (timedelta(hours=5), "in 5 h"), (timedelta(0), "0 s ago")]
)
def test_times_are_relative(away, text):
    assert show.moment((NOW + away).isoformat(), NOW) == text


def test_a_time_that_is_none_stays_as_it_is():
    assert show.moment("soon") == "soon"


def test_columns_line_up_and_are_cut_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    rows = [{"name": "a" * 30, "state": "ready"}, {"name": "b", "state": "failed"}]
    out = io.StringIO()
    show.table(rows, ("name", "state"), out)
    assert out.getvalue().splitlines() == [f"{'NAME':30}  STATE", f"{'a' * 30}  ready", f"{'b':30}  failed"]
    monkeypatch.setenv("COLUMNS", "20")
    screen = Terminal()
    show.table(rows, ("state", "name"), screen)
    assert "\x1b[32mready\x1b[0m" in screen.getvalue()
    assert "a" * 30 not in screen.getvalue()


def test_json_for_programs_says_the_same_and_steers_no_terminal():
    value = {"name": "Zoë \x1b[2J\x9b31m\u202e模型", "lines": "a\nb"}
    text = show.as_json(value)
    assert json.loads(text) == value
    assert all(letter.isprintable() or letter == "\n" for letter in text) and "模型" in text


def test_several_lines_stay_lines():
    assert show.lines("one\x1b[2J\n\ttwo\u202e") == "one [2J\n\ttwo "
