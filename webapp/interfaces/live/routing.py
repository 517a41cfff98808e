"""Which sockets there are, and who may open one: pages of this very site, with their session."""

from typing import Any, cast

from channels.routing import URLRouter
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.urls import path

from webapp.interfaces.live.consumers import LiveConsumer


class OwnPagesOnly:
    """Refuse a handshake whose Origin is not exactly one of ours: scheme, name and port.

    Browsers send cookies along with a WebSocket that any page opens; the Origin is all that tells the pages apart.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        origins = [value.decode("latin1").lower() for name, value in scope["headers"] if name == b"origin"]
        if len(origins) == 1 and origins[0] in settings.TRUSTED_ORIGINS:
            await self.application(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})  # before accept: the handshake is answered with 403


# The type stubs know views only.
_routes: list[Any] = [path("ws/live/", cast(Any, LiveConsumer.as_asgi()))]
sockets = OwnPagesOnly(CookieMiddleware(URLRouter(_routes)))
