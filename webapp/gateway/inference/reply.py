"""What every kind of answer has: a head that waits for the first byte, times, tokens, and a way out to the client."""

from collections.abc import Callable
from time import monotonic

from webapp.gateway.inference.reply_head import ReplyHead


class Reply:
    """The head waits for the first byte of the body, so that an engine that dies in between still gets a proper error.

    Times are monotonic seconds; `max_gap_s` is the longest silence between two reads.
    """

    __slots__ = (
        "_head",
        "_is_chunked",
        "_write",
        "bytes_out",
        "completion_tokens",
        "counted_by",
        "events_seen",
        "first_byte_at",
        "keeps_alive",
        "last_byte_at",
        "max_gap_s",
        "prompt_tokens",
        "status",
    )

    def __init__(self, status: int, head: ReplyHead, write: Callable[[bytes], None]) -> None:
        self.status = status
        self.keeps_alive = head.keeps_alive
        self._is_chunked = head.is_chunked
        self._head = head.lines
        self._write = write
        self.bytes_out = 0
        self.first_byte_at = self.max_gap_s = 0.0
        self.last_byte_at = monotonic()
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.counted_by = "none"
        self.events_seen = 0  # of a stream, set when it is counted

    @property
    def has_written(self) -> bool:
        return not self._head

    def _send(self, data: bytes) -> None:
        """Write what is framed already, behind the head if that is still here."""
        if self._head:
            data = self._head + data
            self._head = b""
            self.first_byte_at = self.last_byte_at
        self.bytes_out += len(data)
        write = self._write
        write(data)

    def _end(self, data: bytes) -> None:
        """Send the rest and the end that the framing needs."""
        if self._is_chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._send(data)
