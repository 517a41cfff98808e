"""The gateway's side of a connection to an engine or to web: one request at a time, kept alive if both agree.

Long because it is one class with one phase, and a read of a stream is one function: it runs once per token.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from webapp.gateway.http import outbox
from webapp.gateway.http.chunks import EVENT_END, OPENINGS, TOO_LONG, ends_event
from webapp.gateway.http.delivery import nothing_arrived
from webapp.gateway.http.head_memory import HeadMemory
from webapp.gateway.http.receiver import Receiver, ResponseHead
from webapp.gateway.http.request import Header, lower_name
from webapp.gateway.http.upstream_phase import (
    AWAITING_HEAD,
    BODY,
    CLOSED,
    CONNECTING,
    DONE,
    EXCESS,
    HEAD,
    HEAD_READ,
    INTO_AWAITING_HEAD,
    INTO_BODY,
    INTO_CLOSED,
    INTO_DONE,
    INTO_EXCESS,
    INTO_HEAD,
    INTO_HEAD_READ,
    INTO_IDLE,
    INTO_TUNNEL,
    TUNNEL,
    UpstreamPhase,
)

_WRITE_HIGH_BYTES = 256 * 1024
_MAX_RESPONSE_HEAD_BYTES = 128 * 1024


class Upstream(asyncio.Protocol):
    """Parses responses and hands each network read on as one call. `chunks` counts the body's chunks so far: engines
    write one per event, and counting them is free where counting events in the bytes is not."""

    __slots__ = (
        "_chunk_border",
        "_ends_with_connection",
        "_head_bytes",
        "_headers",
        "_is_chunked",
        "_is_head_request",
        "_is_whole",
        "_keeps_alive",
        "_length",
        "_may_switch",
        "_parser",
        "_pieces",
        "_pool",
        "_reads",
        "_receiver",
        "_sent_before",
        "_sent_bytes",
        "_take",
        "_wants_events",
        "_write",
        "chunks",
        "idle_since",
        "on_body",
        "on_header",
        "phase",
        "take_event",
        "transport",
        "was_used",
    )

    def __init__(self, pool: "ReleasesTo") -> None:
        self._pool = pool
        self.phase: UpstreamPhase = CONNECTING
        self._receiver: Receiver | None = None  # of an answer, or of a tunnel
        self._take: Callable[[bytes], None] = _ignore
        self._headers: list[Header] = []
        self._pieces: list[bytes] = []
        # Called once per header and per chunk, that is per token: what can be C code is C code.
        add_header = self._headers.append
        self.on_header = lambda name, value: add_header((name, value))
        self.on_body = self._pieces.append
        self.take_event: Callable[[bytes], None] = _ignore
        self._is_chunked = self._chunk_border = self._wants_events = False
        self._reads = True
        self._sent_bytes = self._sent_before = self._head_bytes = 0
        self._length: int | None = None
        self._keeps_alive = self._ends_with_connection = self._is_head_request = self._may_switch = False
        self._is_whole = True
        self.chunks = 0
        self.was_used = False
        self.idle_since = 0.0
        self._parser: Any = HttpResponseParser(self)

    # --- asked by the owner

    def send(
        self,
        receiver: Receiver,
        data: bytes,
        is_head_request: bool = False,
        is_whole: bool = True,
        may_switch: bool = False,
    ) -> None:
        """Begin a request. `data` is its head and as much of its body as is there; if that is not all of it
        (`is_whole`), `sent_all` follows. `may_switch`: it asks for another protocol, so 101 is an answer to it."""
        self.phase = INTO_AWAITING_HEAD[self.phase]
        self._receiver = receiver
        self._is_head_request, self._is_whole, self._may_switch = is_head_request, is_whole, may_switch
        self._chunk_border = self._wants_events = False
        self._head_bytes = self.chunks = 0
        self._sent_before = self._sent_bytes
        self._sent_bytes += len(data)
        self._write(data)

    def write(self, data: bytes) -> None:
        self._sent_bytes += len(data)
        self._write(data)

    def sent_all(self) -> None:
        """The request's last byte was written."""
        self._is_whole = True

    def send_events_to(self, take: Callable[[bytes], None]) -> None:
        """Asked from within `response_started`: a chunk that is one event and comes alone goes to `take` as it is, with
        its framing; all else as usual."""
        self.take_event = take
        self._wants_events = self._is_chunked

    def abort(self) -> None:
        """Close at once and tell nobody: the owner has lost interest."""
        self._receiver = None
        self.phase = INTO_CLOSED[self.phase]
        self.transport.abort()

    def pause(self) -> None:
        if self._reads and self.phase is not CLOSED:
            self._reads = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self._reads and self.phase is not CLOSED:
            self._reads = True
            self.transport.resume_reading()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._write = outbox.writer(self.transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self.phase = INTO_IDLE[self.phase]

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            if self.phase is not CLOSED:
                self.abort()  # an answer to nothing
            return
        # One event in a chunk of its own (see chunks.py).
        size = len(data)
        if self._chunk_border and size < TOO_LONG and data.startswith(OPENINGS[size]) and data.endswith(EVENT_END):
            # The parser stays where it is, between two chunks.
            self.chunks += 1
            take = self.take_event  # calling an attribute in a slot takes a slower way
            try:
                take(data)
            except Exception as error:
                self._not_taken(receiver, error)
            return
        # All in one function, because it runs once per read of a stream.
        try:
            before = self.phase
            if before is AWAITING_HEAD:
                if self._is_repeated(receiver, data):
                    return
                self.phase = INTO_HEAD[before]
            elif before is TUNNEL:
                self._take(data)
                return
            try:
                self._parser.feed_data(data)
            except (HttpParserUpgrade, HttpParserError) as error:
                self._stopped(receiver, data, error)
                return
            if self.phase is EXCESS:
                self._fail("it sent more than it was asked for")
                return
            if before is not BODY and not self._tell_head(receiver, data, before is AWAITING_HEAD):
                return
            if self.phase is DONE or self._is_head_request:
                self._finish(receiver)
            elif self._receiver is receiver:
                pieces = self._pieces
                count = len(pieces)
                body = pieces[0] if count == 1 else b"".join(pieces)
                self.chunks += count
                self._chunk_border = self._wants_events and ends_event(data, pieces)
                pieces.clear()
                take = self._take
                take(body)
        except Exception as error:
            self._not_taken(receiver, error)

    def eof_received(self) -> bool:
        receiver = self._receiver
        if receiver is None or self.phase is TUNNEL:
            return False
        if self.phase is BODY and self._ends_with_connection:
            self.abort()
            receiver.response_finished(b"", True)
        else:
            never_arrived = self.was_used and self.phase is AWAITING_HEAD and self._nothing_arrived()
            self._fail("it closed the connection before its answer was complete", never_arrived)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        before = self.phase
        self.phase = INTO_CLOSED[before]
        self._parser = None  # it holds our methods: without this only the cycle collector would free either
        self._pool.forget(self)
        if before is TUNNEL:
            self._fail("the tunnel was closed")
            return
        # A broken pipe on a write means that the other side had closed before the first byte of it was taken.
        is_proven = isinstance(exc, BrokenPipeError) or self._is_unsent()
        never_arrived = self.was_used and before is AWAITING_HEAD and is_proven
        self._fail(f"the connection broke ({exc or 'closed'})", never_arrived)

    def pause_writing(self) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.upstream_full()

    def resume_writing(self) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.upstream_drained()

    # --- llhttp

    def on_message_begin(self) -> None:
        if self.phase is DONE:
            self.phase = INTO_EXCESS[self.phase]
        self._headers.clear()

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            return
        if self.phase is HEAD:
            self.phase = INTO_HEAD_READ[self.phase]
            self._read_framing(status)

    def on_message_complete(self) -> None:
        if self.phase is HEAD_READ or self.phase is BODY:
            self.phase = INTO_DONE[self.phase]
            # llhttp knows this only inside this callback; asked later it says no and every request opens a connection.
            self._keeps_alive = self._parser.should_keep_alive()

    # --- own

    def _stopped(self, receiver: Receiver, data: bytes, error: HttpParserUpgrade | HttpParserError) -> None:
        """The parser reads no further."""
        if not isinstance(error, HttpParserUpgrade):
            self._fail(f"its answer is not HTTP ({error})")
        elif self._may_switch:
            self._switch_protocol(receiver, data[error.args[0] :])
        else:
            self._fail("it changed the protocol without being asked to")

    def _tell_head(self, receiver: Receiver, data: bytes, is_first: bool) -> bool:
        """Whether it was there. Also remembers it, if `data` is the whole answer."""
        phase = self.phase
        if phase is HEAD:
            self._limit_head(len(data))
            return False
        if phase is HEAD_READ:
            self.phase = INTO_BODY[phase]
        head = ResponseHead(self._parser.get_status_code(), self._headers[:], self._length)
        self._headers.clear()
        self._take = receiver.response_started(head)
        if is_first and phase is DONE and self._length and not self._is_head_request:
            head.keeps_alive = self._keeps_alive
            self._pool.memory.learn(data, self._length, head)
        return True

    def _is_repeated(self, receiver: Receiver, data: bytes) -> bool:
        """Whether this first read is a whole answer whose head the engine has sent before; then it is handed on. The
        parser waits between two messages meanwhile."""
        start = self._pool.memory.body_start(data)
        if not start:
            return False
        head = self._pool.memory.meaning
        assert head is not None
        body = data[start:]
        head.length = self._length = len(body)
        self._keeps_alive = head.keeps_alive
        self.chunks = 1
        self.phase = INTO_DONE[self.phase]
        receiver.response_started(head)
        if self._receiver is receiver:
            self._release()
            receiver.response_finished(body, False)
        return True

    def _read_framing(self, status: int) -> None:
        self._length = None
        self._is_chunked = False
        for name, value in self._headers:
            size = len(name)  # spares nearly all names the comparison
            if size == 14 and lower_name(name) == b"content-length":
                self._length = int(value)
            elif size == 17 and lower_name(name) == b"transfer-encoding":
                self._is_chunked = True
        has_body = status not in (101, 204, 304) and not self._is_head_request
        self._ends_with_connection = has_body and not self._is_chunked and self._length is None

    def _limit_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > _MAX_RESPONSE_HEAD_BYTES:
            self._fail("its response headers do not end")

    def _finish(self, receiver: Receiver) -> None:
        if self._receiver is not receiver:
            return
        # A body behind the answer to HEAD would be taken for the next answer on the client's connection.
        body = b"" if self._is_head_request else b"".join(self._pieces)
        self.chunks += len(self._pieces)
        self._pieces.clear()
        if self.phase is DONE:
            self._release()
        else:
            # An answer to HEAD: llhttp waits for a body that will not come, so this connection is of no more use.
            self.abort()
        receiver.response_finished(body, False)

    def _release(self) -> None:
        self._receiver = None
        self.was_used = True
        # Without a length it was chunked. An engine that hangs up behind those would take the next request with it.
        hangs_up = self._length is None and self._pool.closes_after_stream
        # One that answered before it had the whole request would take the next one for the rest of it.
        if self._keeps_alive and self._is_whole and not hangs_up and not self.transport.is_closing():
            if not self._reads:
                self.resume()
            self.phase = INTO_IDLE[self.phase]
            self.idle_since = time.monotonic()
            self._pool.take_back(self)
        else:
            self.abort()

    def _switch_protocol(self, receiver: Receiver, rest: bytes) -> None:
        if self.phase is not DONE:
            self._fail("it changed the protocol in the middle of an answer")
            return
        self.phase = INTO_TUNNEL[self.phase]
        self._take = receiver.response_started(ResponseHead(101, self._headers[:], None))
        receiver.upgraded(rest)

    def _is_unsent(self) -> bool:
        """Whether the whole request still waits here to be written."""
        return outbox.waiting_bytes(self.transport) == self._sent_bytes - self._sent_before

    def _nothing_arrived(self) -> bool:
        if self._is_unsent():
            return True
        handle = self.transport.get_extra_info("socket")
        return handle is not None and nothing_arrived(handle.fileno(), self._sent_before)

    def _fail(self, reason: str, never_arrived: bool = False) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        self.abort()
        try:
            receiver.response_failed(reason, never_arrived)
        except Exception as error:
            receiver.failed(error)

    def _not_taken(self, receiver: Receiver, error: Exception) -> None:
        """The receiver has failed, which is no fault of the other side."""
        if self._receiver is receiver:
            self.abort()
        receiver.failed(error)


def _ignore(data: bytes) -> None:
    """Nobody takes a body before its head was told."""


class ReleasesTo(Protocol):
    """Where a connection goes when its answer is complete."""

    closes_after_stream: bool
    memory: HeadMemory[ResponseHead]

    def take_back(self, upstream: Upstream) -> None: ...

    def forget(self, upstream: Upstream) -> None: ...
