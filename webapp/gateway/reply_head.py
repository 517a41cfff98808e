"""The head of an answer as the client gets it: allowed headers of the engine's, and our own framing."""

from typing import NamedTuple

from webapp.gateway.framing import lower_name
from webapp.gateway.upstream import ResponseHead
from webapp.gateway.writing import status_line

_ALLOWED = frozenset(
    b"content-type content-encoding content-disposition cache-control date openai-processing-ms".split()
)


class ReplyHead(NamedTuple):
    """`lines` end with the empty line. `is_stream`: the body is a stream of events."""

    lines: bytes
    is_stream: bool
    is_chunked: bool
    keeps_alive: bool


def build(head: ResponseHead, version: str, own_lines: bytes, keeps_alive: bool) -> ReplyHead:
    """`version` is the client's, `own_lines` are added as they are."""
    is_stream = False
    lines = [status_line(head.status)]
    for name, value in head.headers:
        lowered = lower_name(name)
        if lowered in _ALLOWED:
            lines.append(b"%b: %b\r\n" % (lowered, value))
            if lowered == b"content-type":
                is_stream = value.startswith(b"text/event-stream")
    # Events are cut anew and some are taken out, so a length the engine named would be wrong.
    length = None if is_stream else head.length
    is_chunked = length is None and version != "1.0"
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    elif is_chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    else:
        keeps_alive = False
    if not keeps_alive:
        lines.append(b"connection: close\r\n")
    lines.append(own_lines)
    lines.append(b"\r\n")
    return ReplyHead(b"".join(lines), is_stream, is_chunked, keeps_alive)
