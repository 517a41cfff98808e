"""Serves the metrics on a private unix socket; the public port has none."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

_MAX_REQUEST_BYTES = 8192


class _Door(asyncio.Protocol):
    """Answers whatever is asked with the metrics, once per connection."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if b"\r\n\r\n" in self._asked:
            body = self._render()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"
            self._transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
            self._transport.close()
        elif len(self._asked) > _MAX_REQUEST_BYTES:
            self._transport.abort()


async def listen(path: Path, render: Callable[[], bytes]) -> asyncio.Server:
    """asyncio removes the socket of an earlier process by itself."""
    return await asyncio.get_running_loop().create_unix_server(lambda: _Door(render), str(path))
