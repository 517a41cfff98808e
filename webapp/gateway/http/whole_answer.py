"""One small question over a connection, answered as a whole: to web, and to engines beside the requests they serve."""

import asyncio
from collections.abc import Callable

from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.upstream import Upstream


class NoAnswer(Exception):
    """Nobody is there, or the answer was not a proper one."""


class WholeAnswer:
    """Collects one response of at most `max_bytes`. `done` ends with (status, body), or with NoAnswer."""

    def __init__(self, max_bytes: int) -> None:
        self.done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._max_bytes = max_bytes
        self._status = 0
        self._pieces: list[bytes] = []
        self._bytes = 0

    def response_started(self, head: ResponseHead) -> Callable[[bytes], None]:
        self._status = head.status
        return self._add

    def _add(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            self.response_failed("its answer is too large", False)
            return
        self._pieces.append(data)

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self._pieces.append(data)
        if not self.done.done():
            self.done.set_result((self._status, b"".join(self._pieces)))

    def response_failed(self, reason: str, never_arrived: bool) -> None:
        if not self.done.done():
            self.done.set_exception(NoAnswer(reason))

    def failed(self, error: Exception) -> None:
        self.response_failed(f"it could not be taken ({error})", False)

    def upgraded(self, data: bytes) -> None:
        self.response_failed("it changed the protocol", False)

    def upstream_full(self) -> None: ...

    def upstream_drained(self) -> None: ...


async def ask(upstream: Upstream, request: bytes, max_bytes: int) -> tuple[int, bytes]:
    """(status, body) of a whole request. Raises NoAnswer; the connection is then closed, as when this is cancelled."""
    answer = WholeAnswer(max_bytes)
    upstream.send(answer, request)
    try:
        return await answer.done
    finally:
        if not answer.done.done() or answer.done.cancelled() or answer.done.exception() is not None:
            upstream.abort()
