"""From a client's bytes to requests, and to the refusal of what cannot be read."""

from enum import IntEnum
from time import monotonic
from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from webapp.gateway.http.errors import Problem
from webapp.gateway.http.head_memory import HeadMemory
from webapp.gateway.http.phases import Into
from webapp.gateway.http.request import MAX_HEAD_BYTES, Header, Request, too_large_head


class ReaderPhase(IntEnum):
    """Where in the stream of requests the last byte stood."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2
    # llhttp has stopped behind a head that offers another protocol: it is read again without the offer.
    HEAD_AGAIN = 3
    # Nothing that arrives from now on is a request.
    DEAF = 4


BETWEEN, HEAD, BODY, HEAD_AGAIN, DEAF = ReaderPhase
MOVES = {
    BETWEEN: (HEAD, DEAF),  # and stays BETWEEN at a whole request whose head was known
    HEAD: (BODY, HEAD_AGAIN, DEAF),
    BODY: (BETWEEN, DEAF),
    HEAD_AGAIN: (HEAD, DEAF),
    DEAF: (DEAF,),
}
_INTO_BETWEEN, _INTO_HEAD, _INTO_BODY, _INTO_HEAD_AGAIN, _INTO_DEAF = (Into(MOVES, phase) for phase in ReaderPhase)


class Reads(Protocol):
    """Whom a reader tells what it has read."""

    def head_began(self) -> None: ...

    def head_arrived(self, request: Request) -> None: ...

    def body_arrived(self, request: Request, data: bytes) -> None: ...

    def request_ended(self, request: Request) -> None: ...

    def is_idle(self) -> bool:
        """Whether no request is being served."""

    def begins_tunnel(self, request: Request, rest: bytes) -> bool:
        """Whether somebody takes what follows a request for a socket, which begins with `rest`."""

    def overheard(self, size: int) -> None:
        """So many bytes came that are nobody's."""

    def unserviceable(self, problem: Problem) -> None:
        """What is being read cannot be served."""

    def unreadable(self, error: HttpParserError) -> None: ...

    def endless(self) -> None:
        """The body is followed by what llhttp would collect without end."""


class RequestReader:
    """`incoming` is the last request whose head began; `read_at` is when a part of its body came last (monotonic)."""

    __slots__ = (
        "_begun",
        "_goes_on_with_head",
        "_got_body",
        "_head_bytes",
        "_headers",
        "_kept",
        "_looked_up_to",
        "_memory",
        "_owner",
        "_packet_bytes",
        "_parser",
        "_pieces",
        "_text",
        "incoming",
        "on_body",
        "on_header",
        "phase",
        "read_at",
    )

    def __init__(self, owner: Reads) -> None:
        self._owner = owner
        self.phase: ReaderPhase = BETWEEN
        self._headers: list[Header] = []
        add_header = self._headers.append
        self.on_header = lambda name, value: add_header((name, value))  # called for every header: as short as can be
        # Called for every chunk, which may be one byte long: what a read brings is handed on as one piece.
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser: Any = HttpRequestParser(self)
        self._memory: HeadMemory[Request] = HeadMemory()
        self.incoming: Request | None = None
        self._goes_on_with_head = False  # this read began inside a head
        self._head_bytes = 0
        self._begun = 0  # messages so far, those known by _memory apart
        self._got_body = False
        self._packet_bytes = 0
        self._text = b""  # what the parser was given last
        self._kept = bytearray()  # earlier reads of a head that came in several
        self._looked_up_to = 0
        self.read_at = monotonic()

    # --- asked by the connection

    def feed(self, data: bytes, is_first: bool, may_come_again: bool) -> None:
        """What a read brought. `is_first`: no request is being served. `may_come_again`: a request is worth being known
        by its head, which is so from a client's second one on, because many connections never carry a second."""
        is_first = is_first and self.phase is BETWEEN
        if is_first and (start := self._memory.body_start(data)):
            self._repeated(data, start)
            return
        if self.phase is DEAF:
            self._owner.overheard(len(data))
            return
        self._goes_on_with_head = self.phase is HEAD
        begun = self._begun
        self._got_body = False
        self._packet_bytes = len(data)
        self._parse(data)
        if is_first and may_come_again and self._begun == begun + 1:
            self._remember(data)
        if self.phase is HEAD:
            self._kept += data
            self._head_bytes += len(data) if self._goes_on_with_head else 0
            if self._head_bytes > MAX_HEAD_BYTES:
                self._owner.unserviceable(too_large_head(f"more than {MAX_HEAD_BYTES} bytes"))
        elif self.phase is BODY:
            self.read_at = monotonic()
            if not self._got_body:
                # Trailers and chunk extensions, which llhttp would collect without end.
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES + len(data):
                    self._owner.endless()

    def go_deaf(self) -> None:
        self.phase = _INTO_DEAF[self.phase]

    def close(self) -> None:
        """Let go of the parser, which holds our methods, and of the owner, which holds us: without this only the cycle
        collector would free any of them. Nothing is read any more."""
        self._parser = None
        del self._owner

    # --- llhttp; these must not raise, the parser would take it for bad input

    def on_message_begin(self) -> None:
        if self.phase is DEAF:
            return
        self.phase = _INTO_HEAD[self.phase]
        self.incoming = Request()
        self._begun += 1
        self._headers.clear()
        self._head_bytes = 0
        self._owner.head_began()

    def on_url(self, url: bytes) -> None:
        request = self.incoming
        assert request is not None
        request.target = request.target + url if request.target else url

    def on_headers_complete(self) -> None:
        if self.phase is DEAF:
            return
        request = self.incoming
        assert request is not None
        # Trailers land in the list later and are dropped with the next message: nobody here would act on them.
        request.headers = self._headers[:]
        is_http = self._is_http(request.target)
        request.read_head(self._parser.get_method(), self._parser.get_http_version(), is_http)
        if self._goes_on_with_head or self._packet_bytes > MAX_HEAD_BYTES:
            request.check_head_size()
        if b"upgrade" in request.fields and self._declines(request):
            self.phase = _INTO_HEAD_AGAIN[self.phase]
            return
        self.phase = _INTO_BODY[self.phase]
        self._owner.head_arrived(request)

    def on_message_complete(self) -> None:
        if self.phase is HEAD_AGAIN:
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
        request = self.incoming = known.again(len(body))
        owner = self._owner
        owner.head_arrived(request)
        owner.body_arrived(request, body)
        request.is_complete = True
        request.keeps_alive = known.keeps_alive
        owner.request_ended(request)

    def _hand_on(self) -> None:
        """The body that came since the last time, as one piece."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._got_body = True
        request = self.incoming
        assert request is not None
        if self.phase is not DEAF:
            self._owner.body_arrived(request, body)

    def _remember(self, data: bytes) -> None:
        """Know the head of this request again, if `data` is the whole of it."""
        request = self.incoming
        if request is not None and request.is_complete and request.is_plain:
            known = request.again(0)
            known.keeps_alive = request.keeps_alive
            self._memory.learn(data, request.content_length or 0, known)

    def _message_complete(self, keeps_alive: bool) -> None:
        request = self.incoming
        assert request is not None
        request.is_complete = True
        request.keeps_alive = keeps_alive and request.version != "1.0"
        if self.phase is not DEAF:
            self.phase = _INTO_BETWEEN[self.phase]
        self._owner.request_ended(request)

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
                self._owner.unreadable(error)
                return

    def _declines(self, request: Request) -> bool:
        """Whether llhttp must read this head again. It stops behind every head with Upgrade, body or not, and takes the
        rest for the other protocol, which is right for a socket that is opened now and for nothing else."""
        stops = self._parser.should_upgrade()
        request.wants_websocket = request.wants_websocket and stops and self._owner.is_idle()
        return stops and not request.wants_websocket and request.problem is None

    def _behind_head(self, rest: bytes) -> bytes:
        """Called where llhttp has stopped behind a head; returns what is to be read as HTTP."""
        request = self.incoming
        assert request is not None
        self._parser = HttpRequestParser(self)
        if self.phase is HEAD_AGAIN:
            return request.without_upgrade() + rest
        if request.wants_websocket and self._owner.begins_tunnel(request, rest):
            return b""
        # CONNECT, or a head with something wrong in it: its answer ends the connection.
        self.go_deaf()
        return b""
