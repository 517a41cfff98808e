"""What people type, made fit for a database: cleaned text, the words in it, the id of a row. Pure."""

import unicodedata

MAX_CHARS = 100
# The largest id that a database keeps.
MAX_ID = 2**63 - 1
# Control characters and halves of surrogate pairs: nobody types them, and PostgreSQL takes no NUL.
_UNFIT = frozenset({"Cc", "Cs"})


def clean_text(text: object, max_chars: int = MAX_CHARS) -> str:
    """At most `max_chars` characters of what was typed, without control characters and blanks around it."""
    cut = str(text or "").strip()[:max_chars]
    return "".join(" " if unicodedata.category(c) in _UNFIT else c for c in cut).strip()


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
