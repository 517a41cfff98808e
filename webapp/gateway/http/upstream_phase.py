"""What a connection to an engine or to web is busy with, and what may follow what."""

from enum import IntEnum

from webapp.gateway.http.phases import Into


class UpstreamPhase(IntEnum):
    """Ordered: from HEAD on the other side has answered, from HEAD_READ on its status is known."""

    CONNECTING = 0
    IDLE = 1  # between two requests
    AWAITING_HEAD = 2  # a request was sent, or the beginning of one
    HEAD = 3  # of an answer, a first byte has come; an interim answer (1xx) leaves it here
    HEAD_READ = 4  # by the parser, and not told to the receiver yet
    BODY = 5
    DONE = 6  # the answer's last byte was read
    EXCESS = 7  # and then more: it would be taken for the answer to the next request
    TUNNEL = 8
    CLOSED = 9


CONNECTING, IDLE, AWAITING_HEAD, HEAD, HEAD_READ, BODY, DONE, EXCESS, TUNNEL, CLOSED = UpstreamPhase
MOVES = {
    CONNECTING: (IDLE, CLOSED),
    IDLE: (AWAITING_HEAD, CLOSED),
    AWAITING_HEAD: (HEAD, DONE, CLOSED),  # DONE: the whole answer came at once and was known by its head
    HEAD: (HEAD_READ, CLOSED),
    HEAD_READ: (BODY, DONE, CLOSED),
    BODY: (DONE, CLOSED),
    DONE: (IDLE, EXCESS, TUNNEL, CLOSED),  # TUNNEL: to llhttp the answer 101 ends with its head
    EXCESS: (CLOSED,),
    TUNNEL: (CLOSED,),
    CLOSED: (CLOSED,),  # by us, and then by the other side
}
(
    _,
    INTO_IDLE,
    INTO_AWAITING_HEAD,
    INTO_HEAD,
    INTO_HEAD_READ,
    INTO_BODY,
    INTO_DONE,
    INTO_EXCESS,
    INTO_TUNNEL,
    INTO_CLOSED,
) = (Into(MOVES, phase) for phase in UpstreamPhase)
