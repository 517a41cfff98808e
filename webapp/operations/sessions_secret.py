"""Sessions are signed with a key of the oldest master key: a web process hears of its end without a restart."""

from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from webapp.foundation import secret_store

App = Callable[[Any, Any, Any], Awaitable[None]]


def renew() -> None:
    """Let Django sign and believe what is signed now."""
    secret = secret_store.of_sessions()
    if secret != settings.SECRET_KEY:
        settings.SECRET_KEY = secret


class RenewedSecret:
    """ASGI application around another, for pages and sockets alike."""

    def __init__(self, inner: App) -> None:
        self.inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        renew()
        await self.inner(scope, receive, send)
