"""How large a request may be that is not inference: one number for gateway and web, and web's own count of it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

MAX_BODY_BYTES = 5 * 1024 * 1024
TITLE = "The request is too large."
ADVICE = "Send 5 MiB at most."

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


def problem_document(title: str, status: int, detail: str, request_id: str) -> bytes:
    """An error as RFC 9457 shapes it, for those who answer before Django does."""
    return json.dumps(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": request_id}
    ).encode()


class BodyLimit:
    """ASGI application around another: 413 for a body above the limit, by its announced length or counted while it
    arrives. Django would keep a body whole, in memory and then on disk, before anything looks at who sends it."""

    def __init__(self, inner: App) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            await _refuse(scope, send)
            return
        counted = _Counted(receive, send)
        await self.inner(scope, counted.receive, counted.send)
        if counted.is_too_large and not counted.has_answered:
            await _refuse(scope, send)


class _Counted:
    """The two ways of one request. A body that grows too large looks to the application like a client that left."""

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send
        self._bytes = 0
        self.is_too_large = False
        self.has_answered = False

    async def receive(self) -> dict[str, Any]:
        if self.is_too_large:
            return {"type": "http.disconnect"}
        message: dict[str, Any] = await self._receive()
        self._bytes += len(message.get("body", b""))
        self.is_too_large = self._bytes > MAX_BODY_BYTES
        return {"type": "http.disconnect"} if self.is_too_large else message

    async def send(self, message: dict[str, Any]) -> None:
        self.has_answered = True
        await self._send(message)


async def _refuse(scope: Scope, send: Any) -> None:
    body = problem_document(TITLE, 413, ADVICE, _header(scope, b"x-request-id").decode("latin-1")[:80])
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")
