"""An engine's answer that is one document, passed on as it comes and read for its usage at the end."""

from collections.abc import Callable
from time import monotonic

from webapp.gateway.inference import usage_fields
from webapp.gateway.inference.reply import Reply
from webapp.gateway.inference.reply_head import ReplyHead

# A larger answer (embeddings of a whole book) is passed on without being read.
_READABLE_BYTES = 1024 * 1024


class DocumentReply(Reply):
    """Kept whole beside being passed on, as long as it is small enough to be read."""

    __slots__ = ("_is_readable", "_kept", "_kept_bytes")
    is_stream = False

    def __init__(self, status: int, head: ReplyHead, write: Callable[[bytes], None]) -> None:
        Reply.__init__(self, status, head, write)  # super() would cost more than what it calls
        self._is_readable = True
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def data(self, data: bytes) -> None:
        """More of the body."""
        if not data:
            return
        self._note(data)
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._send(data)

    def finish(self, data: bytes) -> None:
        """The rest of the body, and its end."""
        if data:
            self._note(data)
        self._end(data)

    def may_be_cut_off(self) -> bool:
        """Nothing in a document without length says that it is whole."""
        return False

    def break_off(self, event: bytes) -> None:
        """A document has no place for an error: its missing end has to say it."""

    def count(self, chunks: int) -> None:
        """Settle the tokens from the document's own usage; how it was cut says nothing."""
        usage = usage_fields.find(self.document())
        if usage is not None:
            self.prompt_tokens, self.completion_tokens = usage.prompt, usage.completion
            self.counted_by = "engine"

    def document(self) -> bytes:
        """What came, or nothing when it was too large to be kept."""
        kept = self._kept
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def _note(self, data: bytes) -> None:
        now = monotonic()
        if now - self.last_byte_at > self.max_gap_s and self.first_byte_at:
            self.max_gap_s = now - self.last_byte_at
        self.last_byte_at = now
        if self._is_readable:
            self._kept.append(data)
            self._kept_bytes += len(data)
            if self._kept_bytes > _READABLE_BYTES:
                self._is_readable = False
                self._kept.clear()
