"""A client's connection: reads requests one after the other, answers them in order, and ends for a stated reason.

Long because it is one class with one phase; what has a state of its own (reader, queue) stands beside it.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

from httptools import HttpParserError

from webapp.gateway.http import outbox
from webapp.gateway.http.connection_phase import (
    CLOSED,
    IDLE,
    INTO_CLOSED,
    INTO_IDLE,
    INTO_LINGERING,
    INTO_REST,
    INTO_SERVING,
    INTO_TUNNEL,
    LINGERING,
    REST,
    SERVING,
    TUNNEL,
    ConnectionPhase,
)
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.handler import Handler
from webapp.gateway.http.json_text import json_text
from webapp.gateway.http.request import Request, bad_request
from webapp.gateway.http.request_queue import RequestQueue, too_many_queued
from webapp.gateway.http.request_reader import DEAF, HEAD, RequestReader
from webapp.gateway.http.response import problem_response
from webapp.gateway.http.seen_credential import SeenCredential
from webapp.gateway.http.service import Service

WRITE_HIGH_BYTES = 128 * 1024
_DRAINABLE_BODY_BYTES = 64 * 1024
_LINGER_S = 5.0
_LINGER_BYTES = 64 * 1024 * 1024
_BODY_GAP_S = 60.0


class Connection(asyncio.Protocol):
    """`is_full` tells handlers that the client reads slowly; `client` is its address for logs and X-Forwarded-For."""

    transport: asyncio.Transport

    def __init__(self, service: "Service[Connection]") -> None:
        self.service = service
        self.phase: ConnectionPhase = IDLE
        self._reader = RequestReader(self)
        self._request: Request | None = None  # being served
        self._handler: Handler | None = None
        self._queue = RequestQueue()
        self._reads = True
        self._is_advancing = False
        self._has_served = False
        self._overheard_bytes = 0
        self._since = monotonic()
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
        if self.phase is CLOSED or request is None:
            return
        if not keeps_alive or self.service.is_draining:
            self._end()
        elif request.is_complete:
            self._next()
        else:
            self.phase = INTO_REST[self.phase]

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
        if self._reads and self.phase is not CLOSED:
            self._reads = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self._reads and self.phase is not CLOSED:
            self._reads = True
            self._reader.read_at = monotonic()
            self.transport.resume_reading()

    # --- asked by the process

    @property
    def is_busy(self) -> bool:
        return self._handler is not None

    def drain(self) -> None:
        """Stop after the present answer; an idle connection and a tunnel end now."""
        if self._handler is None or self.phase is TUNNEL:
            outbox.flush()
            self.transport.close()

    def check(self, now: float) -> None:
        """End what has taken too long."""
        limits = self.service.limits
        phase, incoming = self.phase, self._reader.incoming
        if phase is LINGERING or phase is CLOSED:
            if now - self._since > (_LINGER_S if phase is LINGERING else limits.client_stall_timeout_s):
                self.transport.abort()
        elif self._handler is not None:
            if self._reads and incoming is self._request and incoming is not None and not incoming.is_complete:
                self._check_body(now)
            if self._handler is not None:
                self._handler.check(now)
        elif phase is REST:
            self._check_body(now)
        elif self._reader.phase is HEAD:
            if now - self._since > limits.header_timeout_s:
                self._fail(Problem(408, "slow_headers", "The header section took too long to arrive", close=True))
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

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase <= REST:
            self._reader.feed(data, phase is IDLE, self._has_served)
        elif phase is TUNNEL:
            if self._handler is not None:
                self._handler.tunnel_data(data)
        else:
            self.overheard(len(data))

    def eof_received(self) -> bool:
        # A client that closes its half cannot be told from one that left: the engine must not go on for nobody.
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.closed(self)
        self._leave()
        self._reader.close()

    def pause_writing(self) -> None:
        self.is_full = True
        if self._handler is not None:
            self._handler.client_full()

    def resume_writing(self) -> None:
        self.is_full = False
        if self._handler is not None:
            self._handler.client_drained()

    # --- what was read; see request_reader.Reads

    def head_began(self) -> None:
        if self.phase is IDLE:
            self._since = monotonic()

    def head_arrived(self, request: Request) -> None:
        if self.phase is IDLE:
            self._begin(request)
        else:
            self._enqueue(request)

    def body_arrived(self, request: Request, data: bytes) -> None:
        if request is self._request:
            handler = self._handler
            if handler is not None:
                try:
                    handler.body_arrived(data)
                except Exception as error:
                    handler.failed(error)
        elif self.phase <= REST and self._queue.add_body(request, data):
            self.pause()

    def request_ended(self, request: Request) -> None:
        if request is not self._request:
            return
        handler = self._handler
        if handler is not None:
            try:
                handler.body_finished()
            except Exception as error:
                handler.failed(error)
        elif self.phase is REST:
            if request.keeps_alive:
                self._next()
            else:
                self._end()

    def is_idle(self) -> bool:
        return self.phase is IDLE

    def begins_tunnel(self, request: Request, rest: bytes) -> bool:
        if request is not self._request or self._handler is None:
            return False
        self.phase = INTO_TUNNEL[self.phase]
        if rest:
            self._handler.tunnel_data(rest)
        return True

    def overheard(self, size: int) -> None:
        self._overheard_bytes += size
        if self._overheard_bytes > _LINGER_BYTES:
            self.transport.abort()

    def unserviceable(self, problem: Problem) -> None:
        self._fail(problem)

    def unreadable(self, error: HttpParserError) -> None:
        if self.phase >= LINGERING:
            return
        reader = self._reader
        reader.go_deaf()
        problem = bad_request(str(error))
        broken = reader.incoming
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

    def endless(self) -> None:
        self.transport.abort()

    # --- own

    def _leave(self) -> None:
        """The client is gone: whoever works for it stops now."""
        self.phase = INTO_CLOSED[self.phase]
        self._since = monotonic()
        self._queue.clear()
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()

    def _begin(self, request: Request) -> None:
        self._request = request
        self.phase = INTO_SERVING[self.phase]
        if request.problem is not None:
            self.service.refuse(self, request, request.problem)
        else:
            # The handler may be done before `begin` returns, so it registers itself through `serve`.
            try:
                self.service.begin(self, request)
            except Exception as error:
                self._not_begun(request, error)

    def _not_begun(self, request: Request, error: Exception) -> None:
        if self._handler is not None:
            self._handler.failed(error)
        elif self._request is request and self.phase is SERVING:
            self.service.failed(self, request, error)
        else:
            raise error

    def is_served_by(self, handler: Handler) -> bool:
        """Whether the present request still waits for this one."""
        return self._handler is handler

    def serve(self, handler: Handler) -> None:
        """From now on `handler` gets what concerns the current request."""
        self._handler = handler

    def _enqueue(self, request: Request) -> None:
        reader = self._reader
        if self._queue.is_full and request.problem is None and reader.phase is not DEAF:
            # Those before it get their answers; what comes behind it is not read any more.
            reader.go_deaf()
            request = Request(problem=too_many_queued())
        self._queue.add(request)

    def _next(self) -> None:
        """Serve what has already arrived, then wait. A loop, because many answers are immediate."""
        self._request = None
        self.phase = INTO_IDLE[self.phase]
        self._since = monotonic()
        if self._is_advancing:
            return
        if not self._queue:
            if not self._reads:
                self.resume()
            return
        self._is_advancing = True
        while self._queue and self.phase is IDLE:
            self._serve_queued(*self._queue.take())
        self._is_advancing = False
        if self.phase is IDLE:
            self.resume()

    def _serve_queued(self, request: Request, pieces: list[bytes]) -> None:
        if not request.is_complete:
            self.resume()  # its beginning may have been too much for the queue
        self._begin(request)
        for piece in pieces:
            self.body_arrived(request, piece)
        if request.is_complete:
            self.request_ended(request)

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
        reader = self._reader
        request = reader.incoming
        if request is not None and request.is_complete and reader.phase is not DEAF:
            self._close()
            return
        self.phase = INTO_LINGERING[self.phase]
        self._since = monotonic()
        self.resume()
        outbox.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        self.phase = INTO_CLOSED[self.phase]
        self._since = monotonic()
        outbox.flush()
        self.transport.close()

    def _fail(self, problem: Problem) -> None:
        """Answer the message that is being read, which cannot be served, and end the connection."""
        if self.phase >= LINGERING:
            return
        reader = self._reader
        if self._handler is not None and reader.incoming is not self._request:
            if reader.phase is not DEAF:
                reader.go_deaf()
                self._enqueue(Request(problem=problem))
            return
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()
            if handler.has_answered:
                # A second head must not stand in the middle of an answer.
                self._close()
                return
        self._request = reader.incoming or Request()
        if self.phase is IDLE:
            self.phase = INTO_SERVING[self.phase]
        self.service.refuse(self, self._request, problem)

    def _check_body(self, now: float) -> None:
        if now - self._reader.read_at > _BODY_GAP_S:
            self.transport.abort()
