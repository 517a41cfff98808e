"""An engine's log as plain text, whatever the engine prints, read by place."""

import re
from dataclasses import dataclass

from django.db.models import QuerySet

from webapp.deployments.models import LogChunk, Replica

# More than this at once would hold up the other messages of the socket.
PIECE_CHARS = 64 * 1024

# Control sequences of terminals (ECMA-48: CSI, OSC, two-character escapes), then every other control character
# except line feed and tab, then the marks that turn text around or hide it.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200}\x1b?)?\Z|\r\Z")


@dataclass(frozen=True)
class Place:
    """A point in a replica's log: which container, and how many characters of its log were read."""

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


def plain(text: str) -> str:
    """The text without terminal sequences and control characters; a bare carriage return becomes a new line."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def tail(replica: Replica) -> Piece:
    """The end of the current container's log, for a page that opens."""
    end = _end(replica.pk, replica.generation, replica.attempt)
    start = max(0, end - PIECE_CHARS)
    return _read(replica, Place(replica.generation, replica.attempt, start), fresh=True)


def since(replica: Replica, seen: Place) -> Piece | None:
    """What the log says after `seen`; None when that is nothing. A newer container starts anew."""
    now = Place(replica.generation, replica.attempt)
    if (seen.generation, seen.attempt) != (now.generation, now.attempt):
        return tail(replica)
    piece = _read(replica, seen, fresh=False)
    return piece if piece.text or piece.fresh else None


def read(replica: Replica, offset: int, attempt: int | None = None) -> Piece:
    """A piece from `offset` on, of the current container's log or an earlier attempt's."""
    return _read(replica, Place(replica.generation, attempt or replica.attempt, offset), fresh=False)


def whole(replica: Replica, generation: int, attempt: int) -> str:
    """Everything that is kept of one container's log."""
    return plain("".join(_chunks(replica.pk, generation, attempt).values_list("text", flat=True)))


def attempts(replica: Replica) -> list[Place]:
    """The containers of which a log is kept, newest first."""
    rows = LogChunk.objects.filter(replica=replica).order_by("-generation", "-attempt")
    return [Place(*pair) for pair in rows.values_list("generation", "attempt").distinct()]


def _chunks(replica_id: int, generation: int, attempt: int) -> "QuerySet[LogChunk]":
    return LogChunk.objects.filter(replica_id=replica_id, generation=generation, attempt=attempt).order_by("offset")


def _end(replica_id: int, generation: int, attempt: int) -> int:
    last = _chunks(replica_id, generation, attempt).last()
    return last.offset + len(last.text) if last else 0


def _read(replica: Replica, at: Place, fresh: bool) -> Piece:
    """Up to PIECE_CHARS from `at`. Old chunks are thrown away: a gap begins anew at what is left."""
    rows = _chunks(replica.pk, at.generation, at.attempt)
    # The chunk that holds `at` begins before it.
    first = rows.filter(offset__lte=at.offset).last() or rows.first()
    if first is None:
        return Piece(at, "", fresh, more=False)
    begin = max(at.offset, first.offset)
    fresh = fresh or begin > at.offset
    parts, room = [], PIECE_CHARS
    for chunk in rows.filter(offset__gte=first.offset)[:64]:
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
