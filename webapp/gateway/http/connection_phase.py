"""What a client's connection is busy with, and what may follow what."""

from enum import IntEnum

from webapp.gateway.http.phases import Into


class ConnectionPhase(IntEnum):
    """Ordered: up to REST what arrives is read as requests."""

    IDLE = 0  # between two requests, or in the head of one
    SERVING = 1
    REST = 2  # the answer is out, and the rest of its request is still to come
    TUNNEL = 3
    LINGERING = 4  # ended by us; the client is heard out, because a reset would destroy the answer
    CLOSED = 5


IDLE, SERVING, REST, TUNNEL, LINGERING, CLOSED = ConnectionPhase
MOVES = {
    IDLE: (SERVING, CLOSED),
    SERVING: (IDLE, REST, TUNNEL, LINGERING, CLOSED),
    REST: (IDLE, LINGERING, CLOSED),
    TUNNEL: (LINGERING, CLOSED),
    LINGERING: (CLOSED,),
    CLOSED: (CLOSED,),  # by us, and then by the client
}
INTO_IDLE, INTO_SERVING, INTO_REST, INTO_TUNNEL, INTO_LINGERING, INTO_CLOSED = (
    Into(MOVES, phase) for phase in ConnectionPhase
)
