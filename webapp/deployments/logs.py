"""An engine's log, read by place."""

from django.db.models import QuerySet

from webapp.deployments.models import LogChunk, Replica
from webapp.foundation import log_text
from webapp.foundation.log_text import PIECE_CHARS, Piece, Place, plain

__all__ = ["PIECE_CHARS", "Piece", "Place", "attempts", "plain", "read", "since", "tail", "whole"]


def tail(replica: Replica) -> Piece:
    """The end of the current container's log, for a page that opens."""
    end = log_text.end_of(_chunks(replica.pk, replica.generation, replica.attempt))
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


def _read(replica: Replica, at: Place, fresh: bool) -> Piece:
    return log_text.read(_chunks(replica.pk, at.generation, at.attempt), at, fresh)
