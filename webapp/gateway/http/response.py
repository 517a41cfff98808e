"""Response heads and whole small responses, as bytes."""

from functools import cache

from webapp.gateway.http.errors import REASONS, Problem, body_of

_JSON = b"application/json"


@cache
def status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Status"))


def whole_response(
    status: int,
    body: bytes,
    request_id: str,
    keeps_alive: bool,
    *,
    content_type: bytes = _JSON,
    headers: bytes = b"",
    is_head: bool = False,
) -> bytes:
    """`headers` are ready-made lines. A HEAD request gets the same head and no body."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b%b\r\n%b" % (
        status_line(status),
        content_type,
        len(body),
        request_id.encode(),
        headers,
        b"" if keeps_alive else b"connection: close\r\n",
        b"" if is_head else body,
    )


def problem_response(
    problem: Problem, request_id: str, keeps_alive: bool, *, headers: bytes = b"", is_head: bool = False
) -> bytes:
    """`headers` are ready-made lines beside the problem's own."""
    headers += problem.headers + b"x-modelyard-failed: %b\r\n" % problem.source.encode()
    body = body_of(problem, request_id)
    return whole_response(problem.status, body, request_id, keeps_alive, headers=headers, is_head=is_head)
