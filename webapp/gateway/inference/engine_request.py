"""A request as an engine gets it: a head of our own making, and the client's body."""

from webapp.gateway.http.receiver import Receiver
from webapp.gateway.http.request import Request
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.routing.replicas import Replica

FORWARDED_HEADERS = (b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
_ONE_WRITE_BYTES = 64 * 1024


def send(
    upstream: Upstream,
    receiver: Receiver,
    request: Request,
    path: bytes,
    replica: Replica,
    request_id: str,
    body: bytes,
) -> None:
    """Begin the request on this connection. Small bodies leave together with the head."""
    if request.engine_lines is None:
        request.engine_lines = _lines(request.fields)
    head = b"POST %b HTTP/1.1\r\n%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n" % (
        path,
        replica.host_header,
        request.engine_lines,
        len(body),
        request_id.encode(),
    )
    if len(body) < _ONE_WRITE_BYTES:
        upstream.send(receiver, head + body)
    else:
        upstream.send(receiver, head)
        upstream.write(body)


def _lines(fields: dict[bytes, bytes]) -> bytes:
    """What the client said and an engine may hear."""
    lines = [b"content-type: %b\r\n" % fields.get(b"content-type", b"application/json")]
    lines += [b"%b: %b\r\n" % (name, fields[name]) for name in FORWARDED_HEADERS if name in fields]
    return b"".join(lines)
