"""What one inference request is waiting for, and what may follow what."""

from enum import IntEnum

from webapp.gateway.http.phases import Into


class ExchangePhase(IntEnum):
    """Ordered as they come."""

    NEW = 0
    RECEIVING = 1  # it was let in, and its body arrives
    UNPACKING = 2  # the body, which came compressed
    LOOKING = 3  # for a replica that web may have told nobody of yet
    SENDING = 4  # to one replica after the other, until one answers
    ANSWERING = 5
    REFUSED = 6  # by the engine, whose words are being read
    OVER = 7


NEW, RECEIVING, UNPACKING, LOOKING, SENDING, ANSWERING, REFUSED, OVER = ExchangePhase
MOVES = {
    NEW: (RECEIVING, OVER),
    RECEIVING: (UNPACKING, LOOKING, SENDING, OVER),
    UNPACKING: (LOOKING, SENDING, OVER),
    LOOKING: (SENDING, OVER),
    SENDING: (LOOKING, ANSWERING, REFUSED, OVER),
    ANSWERING: (OVER,),
    REFUSED: (OVER,),
    OVER: (),
}
_, INTO_RECEIVING, INTO_UNPACKING, INTO_LOOKING, INTO_SENDING, INTO_ANSWERING, INTO_REFUSED, INTO_OVER = (
    Into(MOVES, phase) for phase in ExchangePhase
)
