"""A WebSocket client for an ASGI application. Channels' own cannot be imported without Daphne, which we do not use."""

from urllib.parse import unquote, urlsplit

from asgiref.testing import ApplicationCommunicator

# Longer than anything takes: only what never comes is waited for so long.
PATIENCE_S = 60


class Socket(ApplicationCommunicator):
    """Speaks the application's side of one handshake and what follows."""

    def __init__(self, application, url, headers):
        parts = urlsplit(url)
        super().__init__(
            application,
            {
                "type": "websocket",
                "path": unquote(parts.path),
                "query_string": parts.query.encode(),
                "headers": list(headers),
                "subprotocols": [],
            },
        )

    async def connect(self):
        """Whether the handshake was accepted."""
        await self.send_input({"type": "websocket.connect"})
        reply = await self.receive_output(timeout=PATIENCE_S)
        return reply["type"] == "websocket.accept"

    async def say(self, text):
        await self.send_input({"type": "websocket.receive", "text": text})

    async def disconnect(self):
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(PATIENCE_S)
