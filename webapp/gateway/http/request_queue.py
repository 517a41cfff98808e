"""Requests that a client has sent before those in front of them were answered."""

from collections import deque

from webapp.gateway.http.errors import Problem, retry_after
from webapp.gateway.http.request import Request

MAX_REQUESTS = 100
_MAX_BYTES = 64 * 1024


class RequestQueue:
    """In their order, with the beginnings of their bodies."""

    __slots__ = ("_body_bytes", "_requests")

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._body_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._requests)

    def __contains__(self, request: Request) -> bool:
        return request in self._requests

    @property
    def is_full(self) -> bool:
        return len(self._requests) == MAX_REQUESTS

    def add(self, request: Request) -> None:
        """The one that says that the queue is full is taken, too, and none behind it."""
        if len(self._requests) <= MAX_REQUESTS:
            self._requests.append(request)

    def add_body(self, request: Request, data: bytes) -> bool:
        """Whether that is enough for now."""
        request.body.append(data)
        self._body_bytes += len(data)
        return self._body_bytes > _MAX_BYTES

    def take(self) -> tuple[Request, list[bytes]]:
        """The next one, and what has come of its body."""
        request = self._requests.popleft()
        pieces, request.body = request.body, []
        self._body_bytes -= sum(map(len, pieces))
        return request, pieces

    def clear(self) -> None:
        self._requests.clear()


def too_many_queued() -> Problem:
    message = f"More than {MAX_REQUESTS} requests were sent before the first was answered: send fewer at once"
    return Problem(429, "too_many_pipelined", message, headers=retry_after(1), close=True)
