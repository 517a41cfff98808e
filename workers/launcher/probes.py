"""Is it ready? Small asynchronous questions over a socket, with the standard library alone."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from workers.launcher.supervisor import Probe

ANSWER_LIMIT_S = 5.0


def valkey(socket_path: Path) -> Probe:
    """PING over the unix socket is answered."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_unix_connection(str(socket_path))
        return await _ask(reader, writer, b"PING\r\n", b"+PONG")

    return probe


def http_over_unix(socket_path: Path, path: str, host: str) -> Probe:
    """GET `path` over a unix socket is answered with 200; `host` is what the site is called outside."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_unix_connection(str(socket_path))
        return await _ask(reader, writer, _request(path, host), b"HTTP/1.1 200")

    return probe


def http_over_tcp(address: str, port: int, path: str, host: str, *, tls: bool = False) -> Probe:
    """GET `path` at our own address is answered with 200, through TLS where that is switched on."""

    async def probe() -> bool:
        context = None
        if tls:
            # It is our own port on this machine; whose name the certificate carries is no question here.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(address, port, ssl=context)
        return await _ask(reader, writer, _request(path, host), b"HTTP/1.1 200")

    return probe


def _request(path: str, host: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: bytes, wanted: bytes) -> bool:
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            writer.write(question)
            return await reader.readexactly(len(wanted)) == wanted
    finally:
        writer.close()
