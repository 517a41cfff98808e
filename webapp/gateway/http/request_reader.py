"""The reading half of a client's connection: from bytes to requests, and to the refusal of what cannot be read."""

import asyncio
from abc import ABC, abstractmethod
from time import monotonic
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from webapp.gateway.http.errors import Problem
from webapp.gateway.http.handler import Handler
from webapp.gateway.http.head_memory import HeadMemory
from webapp.gateway.http.request import MAX_HEAD_BYTES, Header, Request, too_large_head

_MAX_QUEUED_BYTES = 64 * 1024
_LINGER_BYTES = 64 * 1024 * 1024


class Reading(asyncio.Protocol, ABC):
    """What it finds goes to `_begin`, `_enqueue` and the handler of the current request, or to `_fail`."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._headers: list[Header] = []
        add_header = self._headers.append
        self.on_header = lambda name, value: add_header((name, value))  # called for every header: as short as can be
        # Called for every chunk, which may be one byte long: what a read brings is handed on as one piece.
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser: Any = HttpRequestParser(self)
        self._memory: HeadMemory[Request] = HeadMemory()
        self._incoming: Request | None = None  # being parsed
        self._request: Request | None = None  # being served
        self._handler: Handler | None = None
        self._queued_bytes = 0
        self._in_head = False
        self._goes_on_with_head = False  # this read began inside a head
        self._head_bytes = 0
        self._begun = 0  # messages so far, those known by _memory apart
        self._got_body = False
        self._packet_bytes = 0
        self._has_served = False
        self._is_lingering = False
        self._lingered_bytes = 0
        self._is_upgraded = False
        self._is_declining = False  # this head is read again without its offer of another protocol
        self._is_deaf = False  # nothing that arrives from now on is a request
        self._text = b""  # what the parser was given last
        self._kept = bytearray()  # earlier reads of a head that came in several
        self._looked_up_to = 0
        self._since = 0.0
        self._read_at = 0.0
        self.is_closed = False

    # --- what the other half does with it

    @abstractmethod
    def pause(self) -> None: ...

    @abstractmethod
    def _begin(self, request: Request) -> None:
        """The head of a request is here and it is its turn."""

    @abstractmethod
    def _enqueue(self, request: Request) -> None:
        """The head of a request is here and others are before it."""

    @abstractmethod
    def _read_out(self, request: Request) -> None:
        """The rest of a request whose answer is out already has arrived."""

    @abstractmethod
    def _fail(self, problem: Problem) -> None: ...

    @abstractmethod
    def _unreadable(self, error: HttpParserError) -> None: ...

    # --- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._is_upgraded:
            if self._handler is not None:
                self._handler.tunnel_data(data)
            return
        if self._is_lingering or self.is_closed or self._is_deaf:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _LINGER_BYTES:
                self.transport.abort()
            return
        is_first = self._request is None and not self._in_head
        if is_first and (start := self._memory.body_start(data)):
            self._repeated(data, start)
            return
        self._goes_on_with_head = self._in_head
        begun = self._begun
        self._got_body = False
        self._packet_bytes = len(data)
        self._parse(data)
        if is_first and self._has_served and self._begun == begun + 1:
            self._remember(data)
        if self._in_head:
            self._kept += data
            self._head_bytes += len(data) if self._goes_on_with_head else 0
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(too_large_head(f"more than {MAX_HEAD_BYTES} bytes"))
        elif self._incoming is not None and not self._incoming.is_complete:
            self._read_at = monotonic()
            if not self._got_body:
                # Trailers and chunk extensions, which llhttp would collect without end.
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES + len(data):
                    self.transport.abort()

    # --- llhttp; these must not raise, the parser would take it for bad input

    def on_message_begin(self) -> None:
        self._incoming = Request()
        self._begun += 1
        self._headers.clear()
        self._in_head = True
        self._head_bytes = 0
        if self._handler is None:
            self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        request = self._incoming
        assert request is not None
        request.target = request.target + url if request.target else url

    def on_headers_complete(self) -> None:
        request = self._incoming
        assert request is not None
        self._in_head = False
        # Trailers land in the list later and are dropped with the next message: nobody here would act on them.
        request.headers = self._headers[:]
        is_http = self._is_http(request.target)
        request.read_head(self._parser.get_method(), self._parser.get_http_version(), is_http)
        if self._goes_on_with_head or self._packet_bytes > MAX_HEAD_BYTES:
            request.check_head_size()
        if b"upgrade" in request.fields and self._declines(request):
            return
        if self._request is None:
            self._begin(request)
        else:
            self._enqueue(request)

    def on_message_complete(self) -> None:
        if self._is_declining:
            return
        if self._pieces:
            self._hand_on()
        # llhttp answers this truthfully only inside this callback.
        self._message_complete(self._parser.should_keep_alive())

    # --- own

    def _repeated(self, data: bytes, start: int) -> None:
        """A whole request whose head this client has sent before. The parser waits between two messages meanwhile."""
        known = self._memory.meaning
        assert known is not None
        body = data[start:]
        request = self._incoming = known.again(len(body))
        self._begin(request)
        self._body_came(request, body)
        self._message_complete(known.keeps_alive)

    def _hand_on(self) -> None:
        """The body that came since the last time, as one piece."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._got_body = True
        request = self._incoming
        assert request is not None
        self._body_came(request, body)

    def _body_came(self, request: Request, data: bytes) -> None:
        if request.discards_body or self._is_lingering or self._is_deaf:
            return
        if request is self._request:
            if self._handler is not None:
                self._handler.body_arrived(data)
            return
        request.body.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > _MAX_QUEUED_BYTES:
            self.pause()

    def _remember(self, data: bytes) -> None:
        """Know the head of this request again, if `data` is the whole of it. From a client's second one on, because
        many connections never carry a second."""
        request = self._incoming
        if request is not None and request.is_complete and request.is_plain:
            known = request.again(0)
            known.keeps_alive = request.keeps_alive
            self._memory.learn(data, request.content_length or 0, known)

    def _message_complete(self, keeps_alive: bool) -> None:
        request = self._incoming
        assert request is not None
        request.is_complete = True
        request.keeps_alive = keeps_alive and request.version != "1.0"
        if request is not self._request or self._is_lingering:
            return
        if self._handler is not None:
            self._handler.body_finished()
        else:
            self._read_out(request)

    def _is_http(self, target: bytes) -> bool:
        """Whether the request line names HTTP. llhttp takes RTSP/1.1 and ICE/1.0 for versions, too, and does not tell
        them apart afterwards."""
        if self._kept:
            self._text = bytes(self._kept) + self._text
            self._kept.clear()
        begin = b"%b HTTP/" % target
        at = self._text.find(begin, self._looked_up_to)
        self._looked_up_to = at + len(begin)
        return at >= 0

    def _parse(self, data: bytes) -> None:
        while data:
            self._text = data
            self._looked_up_to = 0
            try:
                self._parser.feed_data(data)
                if self._pieces:
                    self._hand_on()
                return
            except HttpParserUpgrade as upgrade:
                data = self._behind_head(data[upgrade.args[0] :])
            except HttpParserError as error:
                self._pieces.clear()
                self._unreadable(error)
                return

    def _declines(self, request: Request) -> bool:
        """Whether llhttp must read this head again. It stops behind every head with Upgrade, body or not, and takes the
        rest for the other protocol, which is right for a socket that is opened now and for nothing else."""
        stops = self._parser.should_upgrade()
        request.wants_websocket = request.wants_websocket and stops and self._request is None
        self._is_declining = stops and not request.wants_websocket and request.problem is None
        return self._is_declining

    def _behind_head(self, rest: bytes) -> bytes:
        """Called where llhttp has stopped behind a head; returns what is to be read as HTTP."""
        request = self._incoming
        assert request is not None
        self._parser = HttpRequestParser(self)
        if self.is_closed or self._is_lingering or self._is_deaf:
            return b""
        if self._is_declining:
            self._is_declining = False
            return request.without_upgrade() + rest
        if request.wants_websocket and request is self._request and self._handler is not None:
            self._is_upgraded = True
            if rest:
                self._handler.tunnel_data(rest)
            return b""
        # CONNECT, or a head with something wrong in it: its answer ends the connection.
        self._is_deaf = True
        return b""
