"""Web's own count of a request's body: it holds for whoever reaches web, and nothing is kept before it."""

import tempfile
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator

from webapp import asgi
from webapp.foundation.body_limit import MAX_BODY_BYTES, BodyLimit

pytestmark = pytest.mark.django_db(transaction=True)


async def greedy(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the site: reads the whole body, then says how large it was."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


@async_to_sync
async def answer(
    app: Any, pieces: list[bytes], *headers: tuple[bytes, bytes], path: str = "/page"
) -> tuple[int, bytes]:
    scope = {"type": "http", "path": path, "raw_path": path.encode(), "method": "POST", "query_string": b""}
    scope |= {"headers": [(b"host", b"127.0.0.1:8000"), *headers], "http_version": "1.1", "scheme": "http"}
    caller = ApplicationCommunicator(app, scope)
    for number, piece in enumerate(pieces):
        await caller.send_input({"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1})
    start = await caller.receive_output(timeout=60)
    body = b""
    while True:
        message = await caller.receive_output(timeout=60)
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await caller.wait(timeout=60)
    return start["status"], body


def of(size: int) -> list[bytes]:
    return [b"x" * min(65536, size - at) for at in range(0, size, 65536)]


def test_the_largest_body_is_let_in_and_one_byte_more_is_not() -> None:
    assert answer(BodyLimit(greedy), of(MAX_BODY_BYTES)) == (200, b"%d" % MAX_BODY_BYTES)
    status, body = answer(BodyLimit(greedy), of(MAX_BODY_BYTES + 1), (b"x-request-id", b"id-1"))
    assert status == 413
    assert b"Send 5 MiB at most." in body
    assert b"id-1" in body


def test_what_is_announced_too_large_never_reaches_the_site() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("reached")

    length = (b"content-length", b"%d" % (MAX_BODY_BYTES + 1))
    assert answer(BodyLimit(never), [b""], length)[0] == 413


@pytest.mark.parametrize("path", ["/accounts/login/", "/api/v1/deployments", "/nowhere"])
@pytest.mark.parametrize("content_type", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"])
def test_nobody_without_a_name_writes_to_the_disk(
    path: str, content_type: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there: whoever wanted a file in it would fail the request."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/folder")
    kind = (b"content-type", content_type)
    assert answer(asgi.application, of(MAX_BODY_BYTES), kind, path=path)[0] in (400, 401, 403, 404)
    assert answer(asgi.application, of(2 * MAX_BODY_BYTES), kind, path=path)[0] == 413
