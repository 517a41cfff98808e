"""Text of people and of files, made fit for a database, a page and a terminal; the words in it, the id of a row. Pure.

Standard library alone: programs of jobs read files with it, too.
"""

import re
from typing import Any

MAX_CHARS = 100
# The largest id that a database keeps.
MAX_ID = 2**63 - 1
# Control characters, halves of surrogate pairs and separators of lines: nobody types them, PostgreSQL takes no NUL,
# and a terminal obeys some.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Marks without a width that turn text around (UAX 9) or hide in it.
_HIDDEN = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
# Control sequences of terminals (ECMA-48: CSI, OSC, two-character escapes).
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean_text(text: object, max_chars: int = MAX_CHARS) -> str:
    """At most `max_chars` characters of what was typed, in one line, without blanks around it and without what cannot
    be seen."""
    return one_line(str(text or "").strip()[:max_chars])


def one_line(text: object) -> str:
    """All of the text in one line: what cannot be stored or would steer a terminal is a blank, hidden marks go."""
    return _HIDDEN.sub("", _UNFIT.sub(" ", str(text))).strip()


def has_unfit(text: str) -> bool:
    """Whether the text holds what `one_line` would change in its middle."""
    return bool(_UNFIT.search(text) or _HIDDEN.search(text))


def plain(text: str) -> str:
    """The text in its lines, without terminal sequences, control characters and hidden marks; every other end of a
    line becomes a new line."""
    seen = re.sub("\r\n|[\r\u2028\u2029]", "\n", _ESCAPES.sub("", text))
    return _HIDDEN.sub("", _CONTROLS.sub("", seen))


def storable(value: Any) -> Any:
    """What a program said, a tree of JSON, with every text in it as `plain` has it."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {one_line(key): storable(part) for key, part in value.items()}
    return [storable(part) for part in value] if isinstance(value, list) else value


def words(text: str) -> list[str]:
    """What is looked for, word by word: all of them must be found."""
    return clean_text(text).split()


def holds(text: str, wanted: list[str]) -> bool:
    """Whether the text has every one of the words in it, in whatever case."""
    lowered = text.lower()
    return all(word.lower() in lowered for word in wanted)


def parse_id(text: str) -> int | None:
    """A row's id out of an address or a form; None for anything else."""
    # Python reads no number of more than 4300 digits, and no database keeps one of more than 19.
    found = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
    return None if found is None or found > MAX_ID else found
