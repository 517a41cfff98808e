"""The gateways' poll, answered in front of Django's machinery.

Every gateway process asks every second whether anything has changed, and nearly always nothing has: through all the
middleware that one answer took most of the CPU of an idle installation. Any other answer is the view's.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async

from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS, ROUTES
from webapp.interfaces.internal.knowing import is_internal

PATH = "/internal/gateway/snapshot"
# What a gateway asks for, each with the version that it has, and whose number that is.
PARTS = {"principals": PRINCIPALS, "routes": ROUTES}


Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class Polls:
    """ASGI application around another: 304 for a gateway that is up to date."""

    def __init__(self, inner: App) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and await _is_up_to_date(scope):
            await send({"type": "http.response.start", "status": 304, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.inner(scope, receive, send)


async def _is_up_to_date(scope: Scope) -> bool:
    shown: bytes = next((value for name, value in scope["headers"] if name == b"x-modelyard-internal"), b"")
    if scope["method"] != "GET" or not is_internal(shown):
        return False
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    if not all(part in asked for part in PARTS):
        return False
    numbers = await database_sync_to_async(events.versions)(*PARTS.values())
    return all(asked[part] == [str(numbers[topic])] for part, topic in PARTS.items())
