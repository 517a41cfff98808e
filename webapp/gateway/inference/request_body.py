"""What the gateway must know of a request body, and the few changes it makes before the engine sees it."""

import msgspec

from webapp.gateway.http.errors import Problem
from webapp.gateway.inference import multipart, unreadable

# The endpoints whose streams report usage only when stream_options asks for it.
_USAGE_ON_REQUEST = frozenset(("chat/completions", "completions"))
_MULTIPART_ENDPOINTS = frozenset(("audio/transcriptions", "audio/translations"))


class Known(msgspec.Struct, frozen=True, gc=False):
    """The members that mean something to the gateway. Those it only looks at stay as they came."""

    model: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    n: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    functions: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tool_choice: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_decode_known = msgspec.json.Decoder(Known).decode
_decode_options = msgspec.json.Decoder(_StreamOptions | None).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ParsedRequest(msgspec.Struct, gc=False):
    """What one request asks for, as far as the gateway has to know. `model` is None when the body names none.
    `hide_usage`: the gateway must ask for usage and not show it.

    `known` holds on to the body: it is let go of when the rules have been applied. `sent` is the body that goes to the
    engine, until that answers, `sent_bytes` its size; `kept` is the same body, for counting what the engine does not
    tell, unless it was long. It asks for so many answers to so many prompts.
    """

    model: str | None
    stream: bool
    has_stream_options: bool
    hide_usage: bool
    known: Known | None = None
    sent: bytes = b""
    sent_bytes: int = 0
    kept: bytes = b""
    choices: int = 1
    prompts: int = 1


def read(endpoint: str, content_type: bytes, body: bytes) -> ParsedRequest:
    """Raises Problem 400 with what is wrong."""
    if endpoint in _MULTIPART_ENDPOINTS:
        return ParsedRequest(multipart.read_field(content_type, body, "model"), False, False, False)
    try:
        known = _decode_known(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid_json", unreadable.why(body, str(error))) from None
    if not known.stream:
        return ParsedRequest(known.model, False, False, False, known)
    has_options = known.stream_options is not msgspec.UNSET
    wants_usage = endpoint in _USAGE_ON_REQUEST and not (has_options and _asks_for_usage(known.stream_options))
    return ParsedRequest(known.model, True, has_options, wants_usage, known)


def members_of(document: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """All members of an object, their values as they came. Raises Problem 400: `read` looks at no names but its own,
    and one of the others may be no text."""
    try:
        return _decode_members(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid_json", unreadable.why(bytes(document), str(error))) from None


def for_engine(endpoint: str, content_type: bytes, body: bytes, parsed: ParsedRequest, upstream_model: str) -> bytes:
    """The body as the engine gets it: its own name for the model, and usage asked for in streams. Raises Problem."""
    if endpoint in _MULTIPART_ENDPOINTS:
        if parsed.model == upstream_model:
            return body
        return multipart.replace_field(content_type, body, "model", upstream_model)
    if parsed.model != upstream_model or (parsed.hide_usage and parsed.has_stream_options):
        return _rebuild(body, parsed, upstream_model)
    if parsed.hide_usage:
        # Valid only because the object is not empty (it names a model) and has no stream_options yet.
        return body[: body.rindex(b"}")] + b',"stream_options":{"include_usage":true}}'
    return body


def _rebuild(body: bytes, parsed: ParsedRequest, upstream_model: str) -> bytes:
    """Change single members; the bytes of all others stay as they came."""
    members = members_of(body)
    members["model"] = msgspec.Raw(msgspec.json.encode(upstream_model))
    if parsed.hide_usage:
        options = members_of(members["stream_options"]) if _is_object(members.get("stream_options")) else {}
        options["include_usage"] = msgspec.Raw(b"true")
        members["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(members)


def _asks_for_usage(raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    assert isinstance(raw, msgspec.Raw)
    try:
        options = _decode_options(raw)
    except msgspec.MsgspecError as error:
        message = f"stream_options is not what it should be: {error}"
        raise Problem(400, "invalid_json", message, param="stream_options") from None
    return options is not None and bool(options.include_usage)


def _is_object(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(raw).lstrip().startswith(b"{")
