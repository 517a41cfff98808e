"""Web's private socket as the gateway sees it: snapshot, usage, and some pages to relay."""

import asyncio
import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.mini_http import Asked, Line, MiniServer

PARTS = {"principals": {"keys", "people"}, "routes": {"teams", "deployments"}}


@dataclass
class FakeWeb:
    """`snapshot` is what the gateway is told, in two parts; change it with `publish`. `sent` are the parts of each
    answer that had news."""

    path: str
    # Any of them: a gateway shows that of the master key that writes when it asks.
    secrets: tuple[str, ...]
    snapshot: dict[str, Any] = field(default_factory=lambda: {"version": "0"})
    records: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    usage_status: int = 200
    polls: int = 0
    sent: list[list[str]] = field(default_factory=list)
    _numbers: dict[str, str] = field(default_factory=dict)
    pages: list[Asked] = field(default_factory=list)
    gone: int = 0

    def start(self) -> "FakeWeb":
        self.server = MiniServer(self._answer, self.path, early=frozenset(("/early",))).start()
        return self

    def stop(self) -> None:
        self.server.stop()

    def publish(self, **changes: Any) -> None:
        """A new version of the parts that these are members of; of both where none is named."""
        self.snapshot = {**self.snapshot, **changes, "version": str(int(self.snapshot["version"]) + 1)}
        for part, members in PARTS.items():
            if not changes or members & changes.keys():
                self._numbers[part] = self.snapshot["version"]

    def version(self, part: str) -> str:
        return self._numbers.setdefault(part, self.snapshot["version"])

    @property
    def up_to_date(self) -> str:
        """What a gateway asks that knows everything."""
        return "&".join(f"{part}={self.version(part)}" for part in PARTS)

    def part(self, name: str) -> dict[str, Any]:
        members = {member: value for member, value in self.snapshot.items() if member in PARTS[name]}
        return {"version": self.version(name), **members}

    async def _answer(self, asked: Asked, line: Line) -> None:
        path, _, query = asked.target.partition("?")
        if path.startswith("/internal/"):
            assert asked.header("x-modelyard-internal") in self.secrets
        else:
            self.pages.append(asked)
        if path == "/internal/gateway/snapshot":
            await self._snapshot(query, line)
        elif path == "/internal/gateway/usage":
            await self._usage(asked, line)
        elif path == "/download":
            await self._download(int(query), line)
        elif path == "/ws/live/":
            await self._websocket(asked, line)
        elif path == "/cut":
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            line.cut()
        elif path == "/moved":
            await line.answer(302, b"", extra="location: /elsewhere\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n")
        elif path == "/nothing":
            await line.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif path == "/early":
            await line.answer(403, b"no")
        elif path == "/switches":
            await line.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nframes")
        else:
            digest = hashlib.sha256(asked.body).hexdigest()
            seen = {"method": asked.method, "target": asked.target, "headers": asked.headers, "sha256": digest}
            body = json.dumps({**seen, "size": len(asked.body)}).encode()
            if asked.method == "HEAD":
                await line.send(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode())
            else:
                await line.answer(200, body)

    async def _snapshot(self, query: str, line: Line) -> None:
        self.polls += 1
        known = dict(pair.split("=") for pair in query.split("&"))
        changed = [part for part in PARTS if known[part] != self.version(part)]
        if not changed:
            await line.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            return
        self.sent.append(changed)
        await line.answer(200, json.dumps({part: self.part(part) for part in changed}).encode())

    async def _usage(self, asked: Asked, line: Line) -> None:
        records = json.loads(asked.body)["records"]
        if self.usage_status == 200:
            for record in records:
                (self.refused if record.get("kind") == "refused" else self.records).append(record)
        await line.answer(self.usage_status, json.dumps({"accepted": len(records)}).encode())

    async def _download(self, size: int, line: Line) -> None:
        await line.begin_chunks("application/octet-stream")
        piece = bytes(range(256)) * 256
        try:
            for _ in range(size // len(piece)):
                await line.chunk(piece)
        except ConnectionError:
            self.gone += 1
            raise
        await line.end_chunks()

    async def _websocket(self, asked: Asked, line: Line) -> None:
        """RFC 6455, as far as an echo of short frames needs it."""
        if asked.header("upgrade") is None:
            await line.answer(426, b"sockets only")
            return
        if asked.header("origin") == "http://refused.example":
            await line.answer(403, b"not from there")
            return
        key = (asked.header("sec-websocket-key") or "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        await line.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        try:
            while True:
                first, length = struct.unpack("!BB", await line.reader.readexactly(2))
                length &= 0x7F
                if length == 126:
                    (length,) = struct.unpack("!H", await line.reader.readexactly(2))
                mask = await line.reader.readexactly(4)
                payload = bytes(b ^ mask[i % 4] for i, b in enumerate(await line.reader.readexactly(length)))
                size = struct.pack("!B", length) if length < 126 else struct.pack("!BH", 126, length)
                await line.send(struct.pack("!B", first) + size + payload)
                if first & 0xF == 8:
                    line.keeps = False
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
            line.keeps = False
