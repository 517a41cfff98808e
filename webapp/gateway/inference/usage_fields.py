"""Token counts as engines report them, wherever in a JSON document they stand."""

import msgspec


class Usage(msgspec.Struct, gc=False):
    """Tokens under OpenAI's, the Responses API's and Anthropic's names.

    Anthropic's `input_tokens` are those that came from no cache; those read from it or written to it stand beside them.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    @property
    def prompt(self) -> int | None:
        if self.prompt_tokens is not None or self.input_tokens is None:
            return self.prompt_tokens
        return self.input_tokens + (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)

    @property
    def completion(self) -> int | None:
        return self.output_tokens if self.completion_tokens is None else self.completion_tokens


class _Inner(msgspec.Struct, gc=False):
    usage: Usage | None = None


class _Document(msgspec.Struct, gc=False):
    """Usage stands at the top, in `response` (Responses API) or in `message` (Anthropic)."""

    usage: Usage | None = None
    response: _Inner | None = None
    message: _Inner | None = None


class _Event(_Document, gc=False):
    choices: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_Document).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def find(document: bytes) -> Usage | None:
    """The usage in a document, if any."""
    try:
        return _usage(_decode(document))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def find_in_event(payload: bytes) -> tuple[Usage | None, bool]:
    """The usage in a stream's event, if any, and whether the event is there for nothing else (`choices` is empty)."""
    try:
        found = _decode_event(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, False
    return _usage(found), found.choices == []


def _usage(found: _Document) -> Usage | None:
    if found.usage is not None:
        return found.usage
    for inner in (found.response, found.message):
        if inner is not None and inner.usage is not None:
            return inner.usage
    return None
