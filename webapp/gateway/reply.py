"""An engine's answer on its way to the client: own framing, allowed headers, usage read as it passes."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from webapp.gateway.errors import Problem, event_of
from webapp.gateway.event_stream import EventStream, usage_in
from webapp.gateway.framing import lower_name
from webapp.gateway.upstream import ResponseHead
from webapp.gateway.writing import status_line

if TYPE_CHECKING:
    from webapp.gateway.front import FrontConnection

ALLOWED_HEADERS = frozenset(
    (b"content-type", b"content-encoding", b"content-disposition", b"cache-control", b"date", b"openai-processing-ms")
)
# A whole answer up to this size is read for its usage; of a larger one (embeddings) only the end, where usage stands.
_READABLE_BYTES = 1024 * 1024
_TAIL_BYTES = 4096


class Reply:
    """Begins with the engine's head. The client's head is held until the first byte of the body, so that an engine
    that dies in between still gets a proper error. `max_gap_s` is the longest silence between two reads."""

    __slots__ = (
        "_front",
        "_head",
        "_is_chunked",
        "_kept",
        "_kept_bytes",
        "bytes_out",
        "completion_tokens",
        "counted_by",
        "events",
        "first_byte_at",
        "keeps_alive",
        "last_byte_at",
        "max_gap_s",
        "prompt_tokens",
        "status",
    )

    def __init__(
        self,
        front: FrontConnection,
        head: ResponseHead,
        *,
        version: str,
        own_headers: bytes,
        keeps_alive: bool,
        hides_usage: bool,
    ) -> None:
        self._front = front
        self.status = head.status
        self.events: EventStream | None = None
        lines = [status_line(head.status)]
        for name, value in head.headers:
            lowered = lower_name(name)
            if lowered in ALLOWED_HEADERS:
                lines.append(b"%b: %b\r\n" % (lowered, value))
                if lowered == b"content-type" and value.startswith(b"text/event-stream"):
                    self.events = EventStream(hides_usage)
        length = None if self.events is not None else head.length
        is_sized = length is not None
        self._is_chunked = not is_sized and version != "1.0"
        self.keeps_alive = keeps_alive and (is_sized or self._is_chunked)
        if length is not None:
            lines.append(b"content-length: %d\r\n" % length)
        elif self._is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keeps_alive:
            lines.append(b"connection: close\r\n")
        lines.append(own_headers)
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        self._kept: list[bytes] | None = None if self.events is not None else []
        self._kept_bytes = 0
        self.bytes_out = 0
        self.first_byte_at = self.last_byte_at = self.max_gap_s = 0.0
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.counted_by = "none"

    @property
    def has_written(self) -> bool:
        return not self._head

    def data(self, data: bytes) -> None:
        """More of the body."""
        self._clock()
        if self.events is not None:
            data = self.events.feed(data)
            if not data:
                return
        else:
            self._keep(data)
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._write(data)

    def finish(self, data: bytes) -> None:
        """The rest of the body, and its end."""
        if data:
            self._clock()
        if self.events is not None:
            data = self.events.feed(data) + self.events.finish() if data else self.events.finish()
        else:
            self._keep(data)
        if self._is_chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._write(data)
        self.count()

    def break_off(self, problem: Problem, request_id: str) -> None:
        """Make the end visible: an error event where the client reads events, and never a clean end of the framing."""
        self.count()
        if self.events is not None:
            event = event_of(problem, request_id)
            self._write(b"%x\r\n%b\r\n" % (len(event), event) if self._is_chunked else event)

    def count(self) -> None:
        """Settle the tokens: the engine's word if it gave one, else the events that passed."""
        events = self.events
        if events is None:
            self._count_document()
        elif events.has_usage:
            self.prompt_tokens, self.completion_tokens = events.prompt_tokens, events.completion_tokens
            self.counted_by = "engine"
        else:
            self.completion_tokens = max(0, events.events - events.is_done)
            self.counted_by = "gateway"

    def _count_document(self) -> None:
        if self._kept is None:
            return
        usage = usage_in(self._kept[0] if len(self._kept) == 1 else b"".join(self._kept))
        if usage is not None:
            self.prompt_tokens, self.completion_tokens = usage.prompt, usage.completion
            self.counted_by = "engine"

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            return
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > _READABLE_BYTES:
            self._kept = None

    def _clock(self) -> None:
        now = monotonic()
        if not self.first_byte_at:
            self.first_byte_at = now
        elif now - self.last_byte_at > self.max_gap_s:
            self.max_gap_s = now - self.last_byte_at
        self.last_byte_at = now

    def _write(self, data: bytes) -> None:
        if self._head:
            data = self._head + data
            self._head = b""
        self.bytes_out += len(data)
        self._front.transport.write(data)
