"""Heads that were read before: told by comparing bytes, so that nobody has to parse them again.

The sender of a connection repeats its head for ever; only the number in Content-Length differs. A head that is equal to
a remembered one byte by byte, that number apart, means what the remembered one meant, and the number says whether the
rest of the read is the whole body and nothing else. In every other case the parser decides.
"""

import re
from typing import Generic, TypeVar

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,10})\r\n", re.IGNORECASE)
_MAX_HEAD_BYTES = 4096
_MAX_DIGITS = 10
# Who sends another head every time (a trace id in it, say) is studied only now and then.
_MAX_MISSES = 16

Meaning = TypeVar("Meaning")


class HeadMemory(Generic[Meaning]):
    """Remembers one head. `meaning` belongs to the caller: what it once understood of that head."""

    __slots__ = ("_after", "_after_bytes", "_before", "_before_bytes", "_misses", "_start", "meaning")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._before_bytes = self._after_bytes = self._start = 0
        self._misses = 0
        self.meaning: Meaning | None = None

    def body_start(self, message: bytes) -> int:
        """Where the body of `message` begins if its head is the remembered one and its body is whole, not empty, and
        the last thing in it; else 0."""
        at = self._before_bytes
        if not at or not message.startswith(self._before):
            return 0
        # Sizes mostly have as many digits as the last one had: then the end of the head need not be searched.
        start = self._start
        size = len(message) - start
        if size > 0:
            ending = b"%d%b" % (size, self._after)
            if at + len(ending) == start and message.startswith(ending, at):
                self._misses = 0
                return start
        end = message.find(b"\r", at, at + _MAX_DIGITS + 1)
        if end < 0 or not message.startswith(self._after, end):
            return 0
        start = end + self._after_bytes
        size = len(message) - start
        digits = message[at:end]
        # isdigit: int() would take a sign, blanks and underscores too.
        if not size or not digits.isdigit() or int(digits) != size:
            return 0
        self._misses = 0
        self._start = start
        return start

    def learn(self, message: bytes, length: int, meaning: Meaning) -> None:
        """Take over the head of `message`, which a parser has found to be one whole message with `length` bytes of
        body. The caller vouches that nothing but the head's bytes decided what it means."""
        self._misses += 1
        end = len(message) - length
        if self._misses > _MAX_MISSES and self._misses % _MAX_MISSES:
            return
        if not 0 < end <= _MAX_HEAD_BYTES or message.find(b"\r\n\r\n") != end - 4:
            return
        found = _LENGTH.search(message, 0, end)
        if found is None:
            return
        self._before, self._after = message[: found.start(1)], message[found.end(1) : end]
        self._before_bytes, self._after_bytes, self._start = len(self._before), len(self._after), end
        self.meaning = meaning
