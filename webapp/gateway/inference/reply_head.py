"""The head of an answer as the client gets it: allowed headers of the engine's, and our own framing."""

import msgspec

from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.response import status_line

_ALLOWED = frozenset(
    b"content-type content-encoding content-disposition cache-control date openai-processing-ms".split()
)
_MAX_REMEMBERED = 1024
# Engines repeat their few spellings for ever: the lower-case name if it is allowed, else _REFUSED.
_allowed_by_name: dict[bytes, bytes] = {}
_REFUSED = b""


class ReplyHead(msgspec.Struct, frozen=True, gc=False):
    """`lines` end with the empty line. `is_stream`: the body is a stream of events."""

    lines: bytes
    is_stream: bool
    is_chunked: bool
    keeps_alive: bool


def build(head: ResponseHead, version: str, own_lines: bytes, keeps_alive: bool) -> ReplyHead:
    """`version` is the client's, `own_lines` are added as they are."""
    if head.noted is None:
        head.noted = _passed_on(head)
    passed_on, is_stream = head.noted
    # Events are cut anew and some are taken out, so a length the engine named would be wrong.
    length = None if is_stream else head.length
    has_body = head.status != 204
    is_chunked = has_body and length is None and version != "1.0"
    framing = b""
    if length is not None:
        framing = b"content-length: %d\r\n" % length
    elif is_chunked:
        framing = b"transfer-encoding: chunked\r\n"
    elif has_body:
        keeps_alive = False
    if not keeps_alive:
        framing += b"connection: close\r\n"
    return ReplyHead(b"%b%b%b\r\n" % (passed_on, framing, own_lines), is_stream, is_chunked, keeps_alive)


def _passed_on(head: ResponseHead) -> tuple[bytes, bool]:
    """The status line and the allowed headers, and whether events follow."""
    is_stream = False
    lines = [status_line(head.status)]
    remembered = _allowed_by_name.get
    for name, value in head.headers:
        allowed = remembered(name)
        if allowed is None:
            allowed = _allowed(name)
        if allowed:
            lines.append(b"%b: %b\r\n" % (allowed, value))
            if allowed == b"content-type":
                is_stream = value.startswith(b"text/event-stream")
    return b"".join(lines), is_stream


def _allowed(name: bytes) -> bytes:
    lowered = name.lower()
    allowed = lowered if lowered in _ALLOWED else _REFUSED
    if len(_allowed_by_name) < _MAX_REMEMBERED and len(name) < 64:
        _allowed_by_name[name] = allowed
    return allowed
