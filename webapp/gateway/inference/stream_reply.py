"""An engine's events on their way through: cut at event borders, read for usage, cleared of what was not asked for.

This is the innermost loop of the gateway (once per token), so it is one object and one call per network read.
"""

import re
from collections.abc import Callable
from time import monotonic

from webapp.gateway.http.chunks import payload
from webapp.gateway.inference import usage_fields
from webapp.gateway.inference.reply import Reply
from webapp.gateway.inference.reply_head import ReplyHead

_ENDS = (b"\n\n", b"\r\n\r\n")
_BORDER = re.compile(rb"\r?\n\r?\n")
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
# A single event larger than this (an image, say) is passed on in pieces and not read.
_MAX_HELD_BYTES = 4 * 1024 * 1024
# What llama.cpp begins a stream of several prompts with; clients that read every event fail on it.
_NULL_EVENT = re.compile(rb"data: ?null\r?\n\r?\n")
_LAST_WORDS = (b"[DONE]", b"message_stop", b"response.completed", b"response.incomplete", b"response.failed")


class StreamReply(Reply):
    """Only unfinished events are held back.

    `usages`: how many events with usage the answer has to have; more than one when its engine tells the usage of each
    choice of each prompt by itself, and then they are added up.
    """

    __slots__ = ("_has_usage", "_held", "_hides_usage", "_last", "_left_out", "_usages", "_usages_seen")
    is_stream = True

    def __init__(
        self, status: int, head: ReplyHead, write: Callable[[bytes], None], hides_usage: bool, usages: int = 1
    ) -> None:
        Reply.__init__(self, status, head, write)  # super() would cost more than what it calls
        self._hides_usage = hides_usage
        self._held = self._last = b""
        self._has_usage = False
        self._usages = usages
        self._usages_seen = self._left_out = 0

    def event(self, chunk: bytes) -> None:
        """A chunk that is one event, framed just as we would frame it."""
        # `find`, because `in` makes and drops an exception when it looks for bytes.
        if self._held or self._head or not self._is_chunked or chunk.find(b'"usage"') >= 0:
            self.data(payload(chunk))
            return
        # The way of nearly every token: one event, nothing to read in it, nothing to change.
        now = monotonic()
        if now - self.last_byte_at > self.max_gap_s:
            self.max_gap_s = now - self.last_byte_at
        self.last_byte_at = now
        self._last = chunk
        self.bytes_out += len(chunk)
        write = self._write  # calling an attribute in a slot takes a slower way
        write(chunk)

    def data(self, data: bytes) -> None:
        """More events, or parts of them."""
        now = monotonic()
        if now - self.last_byte_at > self.max_gap_s and self.first_byte_at:
            self.max_gap_s = now - self.last_byte_at
        self.last_byte_at = now
        if self._held or not data.endswith(_ENDS):
            data = self._whole_events(data)
        if self._head and data:
            data = self._without_null(data)
        at = data.find(b'"usage"')
        if at >= 0:
            data = self._read_usage(data, at)
        if not data:
            return
        self._last = data
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            self._send(data)
            return
        self.bytes_out += len(data)
        write = self._write
        write(data)

    def finish(self, data: bytes) -> None:
        """The last events, and the end that the engine announced in an orderly way."""
        if data:
            self.data(data)
        rest, self._held = self._held, b""
        self._end(rest)

    def may_be_cut_off(self) -> bool:
        """Asked when only the end of the connection ended the stream: did the engine say a last word?"""
        return not any(word in self._last for word in _LAST_WORDS)

    def break_off(self, event: bytes) -> None:
        """End with an error event, and without the end that the framing would need to be whole."""
        self._write(b"%x\r\n%b\r\n" % (len(event), event) if self._is_chunked else event)

    def count(self, chunks: int) -> None:
        """Settle the tokens: the engine's word if it gave one, else the chunks that passed, one event in each."""
        seen = self.events_seen = max(0, chunks - self._left_out - (b"[DONE]" in self._last))
        if self._has_usage and self._usages_seen >= self._usages:
            self.counted_by = "engine"
            return
        # Of several usages only some: what they say is the least of it.
        self.completion_tokens = max(seen, self.completion_tokens or 0) if self._usages > 1 else seen
        self.prompt_tokens = None if self._usages > 1 else self.prompt_tokens
        self.counted_by = "gateway"

    def _without_null(self, data: bytes) -> bytes:
        """The first events without one that says nothing."""
        found = _NULL_EVENT.match(data)
        if found is None:
            return data
        self._left_out += 1
        return data[found.end() :]

    def _whole_events(self, data: bytes) -> bytes:
        data = self._held + data
        cut = max((data.rfind(end) + len(end) for end in _ENDS if end in data), default=0)
        if len(data) - cut > _MAX_HELD_BYTES:
            cut = len(data)
        self._held = data[cut:]
        return data[:cut]

    def _read_usage(self, data: bytes, at: int) -> bytes:
        """Read every event that may hold usage, the first at `at`; only their surroundings are looked at, because the
        last read of a fast engine can be a whole answer long."""
        kept: list[bytes] = []
        done = 0
        while at >= 0:
            if not _USAGE_OBJECT.match(data, at):
                at = data.find(b'"usage"', at + 1)
                continue
            start = _event_start(data, done, at)
            border = _BORDER.search(data, at)
            stop = len(data) if border is None else border.end()
            if self._take_usage(data[start:stop]) and self._hides_usage:
                kept.append(data[done:start])
                done = stop
            at = data.find(b'"usage"', stop)
        kept.append(data[done:])
        return b"".join(kept)

    def _take_usage(self, event: bytes) -> bool:
        """Note the usage of one event. True when the event is there for nothing else."""
        payload = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        usage, has_nothing_else = usage_fields.find_in_event(payload)
        if usage is None:
            return False
        self._has_usage = True
        self._usages_seen += 1
        if self._usages > 1:
            self.prompt_tokens = (self.prompt_tokens or 0) + (usage.prompt or 0)
            self.completion_tokens = (self.completion_tokens or 0) + (usage.completion or 0)
            return has_nothing_else
        # Anthropic's streams give the prompt first and the rest at the end: later numbers complete earlier ones.
        self.prompt_tokens = self.prompt_tokens if usage.prompt is None else usage.prompt
        self.completion_tokens = self.completion_tokens if usage.completion is None else usage.completion
        return has_nothing_else


def _event_start(data: bytes, low: int, at: int) -> int:
    """Where the event around `at` begins: after the last empty line before it, not before `low`."""
    while (line_end := data.rfind(b"\n", low, at)) >= 0:
        if data.endswith((b"\n", b"\n\r"), low, line_end):
            return line_end + 1
        at = line_end
    return low
