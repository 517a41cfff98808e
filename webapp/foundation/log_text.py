"""Logs that are kept in pieces, read by place and shown as plain text, whatever the program in the container prints."""

import re
from dataclasses import dataclass
from typing import Any, Protocol

from django.db.models import QuerySet

from webapp.foundation.text import plain

__all__ = ["PIECE_CHARS", "Chunk", "Piece", "Place", "end_of", "plain", "read"]

# More than this at once would hold up the other messages of the socket.
PIECE_CHARS = 64 * 1024

_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200}\x1b?)?\Z|\r\Z")


@dataclass(frozen=True)
class Place:
    """A point in a log: which container, and how many characters of its log were read.

    A replica's containers have a generation and an attempt; a job's step takes the place of the generation.
    """

    generation: int = 0
    attempt: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> "Place":
        """From `2-1-4096`; anything else is the beginning."""
        parts = text.split("-")
        if len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
            return cls(*(int(part) for part in parts))
        return cls()

    def __str__(self) -> str:
        return f"{self.generation}-{self.attempt}-{self.offset}"


@dataclass(frozen=True)
class Piece:
    """Some text of the log. `fresh`: it does not go on where the reader was, so what is shown must be dropped."""

    place: Place
    text: str
    fresh: bool
    more: bool


class Chunk(Protocol):
    """What is kept: a piece of text and how many characters of the log lie before it."""

    offset: int
    text: str


def end_of(chunks: QuerySet[Any]) -> int:
    """How many characters one container has printed; `chunks` are its own, by offset."""
    last: Chunk | None = chunks.last()
    return last.offset + len(last.text) if last else 0


def read(chunks: QuerySet[Any], at: Place, fresh: bool) -> Piece:
    """Up to PIECE_CHARS of one container's log from `at`. Old chunks are thrown away: a gap begins anew at what is
    left."""
    # The chunk that holds `at` begins before it.
    first: Chunk | None = chunks.filter(offset__lte=at.offset).last() or chunks.first()
    if first is None:
        return Piece(at, "", fresh, more=False)
    begin = max(at.offset, first.offset)
    fresh = fresh or begin > at.offset
    parts, room = [], PIECE_CHARS
    for chunk in chunks.filter(offset__gte=first.offset)[:64]:
        part = chunk.text[max(0, begin - chunk.offset) :][:room]
        parts.append(part)
        room -= len(part)
        if room <= 0:
            break
    raw = "".join(parts)
    more = room <= 0
    # A sequence that was cut in two is read again, whole, with the next piece.
    cut = _UNFINISHED.search(raw)
    if cut:
        raw = raw[: cut.start()]
    return Piece(Place(at.generation, at.attempt, begin + len(raw)), plain(raw), fresh, more)
