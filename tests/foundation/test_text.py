"""What people type, made fit for a database; and the one place that searches."""

from pathlib import Path

import pytest

from webapp.foundation.text import MAX_ID, clean_text, holds, parse_id, words

WEBAPP = Path(__file__).resolve().parents[2] / "webapp"


@pytest.mark.parametrize(
    ("typed", "clean"),
    [
        (None, ""),
        ("  chat  ", "chat"),
        ("two  words", "two  words"),
        ("a\0b", "a b"),
        ("\0\x1b[31mred\x7f", "[31mred"),
        ("line\nbreak\ttab", "line break tab"),
        ("half \ud800 a pair", "half   a pair"),
        ("Zoë 模型 🙂", "Zoë 模型 🙂"),
        ("x" * 500, "x" * 100),
        (7, "7"),
    ],
)
def test_text_is_cleaned(typed: object, clean: str) -> None:
    assert clean_text(typed) == clean


def test_a_field_says_how_long_its_text_may_be() -> None:
    assert clean_text("x" * 500, 150) == "x" * 150


@pytest.mark.parametrize(("q", "found"), [("", []), (" \0 ", []), ("one", ["one"]), (" two\0words ", ["two", "words"])])
def test_words_are_parted_by_blanks_and_control_characters(q: str, found: list[str]) -> None:
    assert words(q) == found


def test_a_text_holds_words_in_whatever_case() -> None:
    assert holds("Qwen3 8B of research", ["RESEARCH", "qwen"])
    assert not holds("Qwen3 8B", ["qwen", "70b"])
    assert holds("anything", [])


@pytest.mark.parametrize(
    ("text", "pk"),
    [
        ("12", 12), ("0", 0), (str(MAX_ID), MAX_ID), (str(MAX_ID + 1), None), ("9" * 5000, None), ("", None),
        ("-1", None), ("+1", None), ("1_0", None), ("²", None), ("٣", None), (" 1", None), ("1.0", None),
    ],
)  # fmt: skip
def test_an_id_is_read(text: str, pk: int | None) -> None:
    assert parse_id(text) == pk


def test_rows_are_searched_by_text_in_one_place() -> None:
    """Lists, choices, the search box and the API call it. The list of deployments also takes a part of a host's name
    as a filter."""
    found = {str(path.relative_to(WEBAPP)) for path in WEBAPP.rglob("*.py") if "__icontains" in path.read_text()}
    assert found - {"deployments/searching.py"} == {"foundation/search.py"}
