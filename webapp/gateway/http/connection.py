"""A client's connection: reads requests one after the other, answers them in order, and ends for a stated reason."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast

from httptools import HttpParserError

from webapp.gateway.http import outbox
from webapp.gateway.http.errors import Problem, retry_after
from webapp.gateway.http.handler import Handler
from webapp.gateway.http.json_text import json_text
from webapp.gateway.http.request import Request, bad_request
from webapp.gateway.http.request_reader import Reading
from webapp.gateway.http.response import problem_response
from webapp.gateway.http.seen_credential import SeenCredential

WRITE_HIGH_BYTES = 128 * 1024
_MAX_QUEUED_REQUESTS = 100
_DRAINABLE_BODY_BYTES = 64 * 1024
_LINGER_S = 5.0
_BODY_GAP_S = 60.0


class Limits(Protocol):
    """Seconds."""

    @property
    def header_timeout_s(self) -> float: ...

    @property
    def idle_timeout_s(self) -> float: ...

    @property
    def client_stall_timeout_s(self) -> float: ...


class Service(Protocol):
    """What the connections of a process belong to, and who serves their requests."""

    limits: Limits
    is_draining: bool

    def opened(self, connection: "Connection") -> Problem | None:
        """One more; a problem if it is one too many."""

    def closed(self, connection: "Connection") -> None: ...

    def begin(self, connection: "Connection", request: Request) -> None:
        """Serve a request whose headers are complete and readable."""

    def refuse(self, connection: "Connection", request: Request, problem: Problem) -> None:
        """Answer with an error and note it."""

    def own_lines(self, request: Request) -> bytes:
        """Header lines for an answer that is the gateway's own."""


class Connection(Reading):
    """`is_full` tells handlers that the client reads slowly; `client` is its address for logs and X-Forwarded-For."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self._queue: deque[Request] = deque()
        self._reads = True
        self._is_advancing = False
        self._since = monotonic()
        self._read_at = self._since
        self.seen_credential = SeenCredential()
        self.is_full = False
        self.client = ""
        self.client_json = b'""'

    # --- asked by handlers

    write: Callable[[bytes], None]

    def refuse(self, problem: Problem, request_id: str) -> int:
        """Answer the current request with an error; returns the bytes written. Nothing of an answer may be out yet."""
        request = self._request
        assert request is not None
        keeps = not problem.close and self._can_keep(request)
        headers = self.service.own_lines(request)
        data = problem_response(problem, request_id, keeps, headers=headers, is_head=request.method == b"HEAD")
        self.write(data)
        self.response_complete(keeps)
        return len(data)

    def response_complete(self, keeps_alive: bool) -> None:
        """The last byte of the answer was written: go on with the next request, or end."""
        self._handler = None
        request = self._request
        self._has_served = True
        if self.is_closed or request is None:
            return
        if not keeps_alive or self.service.is_draining:
            self._end()
        elif request.is_complete:
            self._next()
        else:
            request.discards_body = True

    def abort(self) -> None:
        """Break the connection so that the client sees that the answer is not whole. What was written is sent first."""
        self._handler = None
        self._close()

    def continue_expected(self) -> None:
        """The client waits for a word before it sends the body."""
        request = self._request
        if request is not None and request.awaits_continue and not request.is_complete:
            request.awaits_continue = False
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def keeps_alive(self) -> bool:
        request = self._request
        if request is None or self.service.is_draining:
            return False
        return request.keeps_alive if request.is_complete else self._can_keep(request)

    def pause(self) -> None:
        if self._reads and not self.is_closed:
            self._reads = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self._reads and not self.is_closed:
            self._reads = True
            self._read_at = monotonic()
            self.transport.resume_reading()

    # --- asked by the process

    @property
    def is_busy(self) -> bool:
        return self._handler is not None

    def drain(self) -> None:
        """Stop after the present answer; an idle connection and a tunnel end now."""
        if self._handler is None or self._is_upgraded:
            outbox.flush()
            self.transport.close()

    def check(self, now: float) -> None:
        """End what has taken too long."""
        limits = self.service.limits
        request = self._incoming
        if self._is_lingering or self.is_closed:
            if now - self._since > (_LINGER_S if self._is_lingering else limits.client_stall_timeout_s):
                self.transport.abort()
        elif self._handler is not None:
            if self._reads and request is self._request and request is not None and not request.is_complete:
                self._check_body(now)
            if self._handler is not None:
                self._handler.check(now)
        elif request is not None and not request.is_complete:
            if self._in_head and now - self._since > limits.header_timeout_s:
                self._fail(Problem(408, "slow_headers", "The header section took too long to arrive", close=True))
            elif not self._in_head:
                self._check_body(now)
        elif now - self._since > (limits.idle_timeout_s if self._has_served else limits.header_timeout_s):
            self.transport.close()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = outbox.writer(self.transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else ""
        self.client_json = json_text(self.client)
        problem = self.service.opened(self)
        if problem is not None:
            self._fail(problem)

    def eof_received(self) -> bool:
        # A client that closes its half cannot be told from one that left: the engine must not go on for nobody.
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.closed(self)
        self._leave()
        self._parser = None  # it holds our methods: without this only the cycle collector would free either

    def pause_writing(self) -> None:
        self.is_full = True
        if self._handler is not None:
            self._handler.client_full()

    def resume_writing(self) -> None:
        self.is_full = False
        if self._handler is not None:
            self._handler.client_drained()

    # --- own

    def _leave(self) -> None:
        """The client is gone: whoever works for it stops now."""
        self.is_closed = True
        self._since = monotonic()
        self._queue.clear()
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()

    def _begin(self, request: Request) -> None:
        self._request = request
        if request.problem is not None:
            self.service.refuse(self, request, request.problem)
        else:
            # The handler may be done before `begin` returns, so it registers itself through `serve`.
            self.service.begin(self, request)

    def serve(self, handler: Handler) -> None:
        """From now on `handler` gets what concerns the current request."""
        self._handler = handler

    def _read_out(self, request: Request) -> None:
        if request.keeps_alive:
            self._next()
        else:
            self._end()

    def _enqueue(self, request: Request) -> None:
        if len(self._queue) == _MAX_QUEUED_REQUESTS and request.problem is None and not self._is_deaf:
            # Those before it get their answers; what comes behind it is not read any more.
            self._is_deaf = True
            request = Request(problem=_too_many_queued())
        if len(self._queue) <= _MAX_QUEUED_REQUESTS:
            self._queue.append(request)

    def _next(self) -> None:
        """Serve what has already arrived, then wait. A loop, because many answers are immediate."""
        self._request = None
        self._since = monotonic()
        if self._is_advancing:
            return
        if not self._queue:
            if not self._reads:
                self.resume()
            return
        self._is_advancing = True
        while self._queue and self._request is None and not self.is_closed and not self._is_lingering:
            self._serve_queued(self._queue.popleft())
        self._is_advancing = False
        if self._request is None:
            self.resume()

    def _serve_queued(self, request: Request) -> None:
        pieces, request.body = request.body, []
        self._queued_bytes -= sum(map(len, pieces))
        if not request.is_complete:
            self.resume()  # its beginning may have been too much for the queue
        self._begin(request)
        for piece in pieces:
            if self._handler is not None:
                self._handler.body_arrived(piece)
        if not request.is_complete or self._request is not request:
            return
        if self._handler is not None:
            self._handler.body_finished()

    def _can_keep(self, request: Request) -> bool:
        """Whether the rest of the request, if any, is worth reading for the sake of the connection."""
        if request.is_complete:
            return request.keeps_alive
        if request.version == "1.0" or request.awaits_continue or request.is_chunked or request.asks_close:
            return False
        if request.wants_websocket:
            return False  # the parser has stopped behind it
        return (request.content_length or 0) <= _DRAINABLE_BODY_BYTES

    def _end(self) -> None:
        """Close after what was written. A client that still sends is heard out: a reset would destroy the answer."""
        request = self._incoming
        if request is not None and request.is_complete and not self._is_deaf:
            self._close()
            return
        self._is_lingering = True
        self._since = monotonic()
        self.resume()
        outbox.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        self.is_closed = True
        self._since = monotonic()
        outbox.flush()
        self.transport.close()

    def _fail(self, problem: Problem) -> None:
        """Answer the message that is being read, which cannot be served, and end the connection."""
        if self.is_closed or self._is_lingering:
            return
        if self._handler is not None and self._incoming is not self._request:
            if not self._is_deaf:
                self._is_deaf = True
                self._enqueue(Request(problem=problem))
            return
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()
            if handler.has_answered:
                # A second head must not stand in the middle of an answer.
                self._close()
                return
        self._request = self._incoming or Request()
        self.service.refuse(self, self._request, problem)

    def _unreadable(self, error: HttpParserError) -> None:
        if self._is_lingering or self.is_closed:
            return
        self._is_deaf = True
        problem = bad_request(str(error))
        broken = self._incoming
        if broken is not None and broken.is_complete:
            if not broken.keeps_alive:
                return  # what follows the last request of a connection is nobody's (RFC 9112, 9.6)
            broken = None
        if self._request is None:
            self._fail(problem)
        elif broken is not self._request:
            # Those before it get their answers first.
            if broken is not None and broken in self._queue:
                broken.problem = problem
            else:
                self._enqueue(Request(problem=problem))
        elif self._handler is not None:
            self._fail(problem)
        else:
            self._close()  # the answer is out, only the rest of the body was to come

    def _check_body(self, now: float) -> None:
        if now - self._read_at > _BODY_GAP_S:
            self.transport.abort()


def _too_many_queued() -> Problem:
    message = f"More than {_MAX_QUEUED_REQUESTS} requests were sent before the first was answered: send fewer at once"
    return Problem(429, "too_many_pipelined", message, headers=retry_after(1), close=True)
