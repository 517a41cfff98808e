"""An engine's events on their way through: cut at event borders, read for usage, cleared of what was not asked for."""

import re

import msgspec

_ENDS = (b"\n\n", b"\r\n\r\n")
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
_BORDER = re.compile(rb"\r?\n\r?\n")
# A single event larger than this (an image, say) is passed on in pieces and not read.
_MAX_HELD_BYTES = 4 * 1024 * 1024


class Usage(msgspec.Struct):
    """Tokens under OpenAI's, the Responses API's and Anthropic's names."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def prompt(self) -> int | None:
        return self.input_tokens if self.prompt_tokens is None else self.prompt_tokens

    @property
    def completion(self) -> int | None:
        return self.output_tokens if self.completion_tokens is None else self.completion_tokens


class _Inner(msgspec.Struct):
    usage: Usage | None = None


class Document(msgspec.Struct):
    """Where usage stands: at the top, in `response` (Responses API) or in `message` (Anthropic)."""

    usage: Usage | None = None
    response: _Inner | None = None
    message: _Inner | None = None
    choices: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(Document).decode


def usage_in(document: bytes) -> Usage | None:
    """The usage of one JSON document, or None when there is none or it cannot be read."""
    try:
        found = _decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _usage_of(found)


class EventStream:
    """`feed` gets what came from the engine and gives what may be sent on; it holds back only unfinished events."""

    __slots__ = ("_held", "_hides_usage", "_last", "completion_tokens", "events", "has_usage", "prompt_tokens")

    def __init__(self, hides_usage: bool) -> None:
        self._hides_usage = hides_usage
        self._held = b""
        self._last = b""
        self.events = 0
        self.has_usage = False
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
            self._held = b""
        if not data.endswith(_ENDS):
            data = self._whole_events(data)
        self.events += data.count(b"data:")
        self._last = data or self._last
        if b'"usage"' in data and _USAGE_OBJECT.search(data):
            return self._read_usage(data)
        return data

    def finish(self) -> bytes:
        """What was held back, when the engine ended its stream in an orderly way."""
        held, self._held = self._held, b""
        return held

    @property
    def is_done(self) -> bool:
        """Whether the engine said so itself; matters where nothing else tells an end from a break."""
        return b"[DONE]" in self._last or b"message_stop" in self._last or b"response.completed" in self._last

    def _whole_events(self, data: bytes) -> bytes:
        cut = max((data.rfind(end) + len(end) for end in _ENDS if end in data), default=0)
        if len(data) - cut > _MAX_HELD_BYTES:
            return data
        self._held = data[cut:]
        return data[:cut]

    def _read_usage(self, data: bytes) -> bytes:
        kept: list[bytes] = []
        start = 0
        for border in _BORDER.finditer(data):
            event = data[start : border.end()]
            start = border.end()
            if not (b'"usage"' in event and self._take_usage(event) and self._hides_usage):
                kept.append(event)
        kept.append(data[start:])
        return b"".join(kept)

    def _take_usage(self, event: bytes) -> bool:
        """Note the usage of one event. True when the event is there for nothing else."""
        payload = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        try:
            document = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        usage = _usage_of(document)
        if usage is None:
            return False
        self.has_usage = True
        # Anthropic's streams give the prompt first and the rest at the end: later numbers complete earlier ones.
        self.prompt_tokens = self.prompt_tokens if usage.prompt is None else usage.prompt
        self.completion_tokens = self.completion_tokens if usage.completion is None else usage.completion
        return document.choices == []


def _usage_of(document: Document) -> Usage | None:
    if document.usage is not None:
        return document.usage
    for inner in (document.response, document.message):
        if inner is not None and inner.usage is not None:
            return inner.usage
    return None
