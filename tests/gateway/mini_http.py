"""A small HTTP/1.1 server in a thread, plain enough to misbehave on purpose."""

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

Handler = Callable[["Asked", "Line"], Awaitable[None]]


@dataclass
class Asked:
    """One request as it arrived. `connection` numbers the connection it came on."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, f"{name} was sent {len(found)} times"
        return found[0] if found else None


@dataclass
class Line:
    """The connection a request came on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keeps: bool = True
    sent: int = 0

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent += len(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        await self.send(head.encode() + body)

    async def begin_chunks(self, content_type: str) -> None:
        await self.send(
            f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_chunks(self) -> None:
        await self.send(b"0\r\n\r\n")

    def cut(self) -> None:
        """Die: no end of the framing, no goodbye."""
        self.keeps = False
        self.writer.transport.abort()


@dataclass
class MiniServer:
    """Serves on a TCP port of its own choice, or on `path`."""

    handler: Handler
    path: str | None = None
    port: int = 0
    connections: int = 0
    asked: list[Asked] = field(default_factory=list)
    early: frozenset[str] = frozenset()  # targets answered before their body was read, which is then never read

    def start(self) -> "MiniServer":
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def stop(self) -> None:
        """Stop listening and break every connection."""
        if self.loop.is_running():
            self.loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.loop.close()

    async def _serve(self) -> None:
        # asyncio's own server forgets what it accepted in the round in which it is closed, and the socket stays open.
        self._stopping = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        with self._listener() as listener:
            self.loop.add_reader(listener, self._accept, listener)
            self._ready.set()
            await self._stopping.wait()
            self.loop.remove_reader(listener)
        while self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.wait(self.tasks)
        # A transport lets go of its socket one round after it was told to.
        await asyncio.sleep(0)

    def _listener(self) -> socket.socket:
        if self.path is not None:
            Path(self.path).unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.path)
        else:
            listener = socket.create_server(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
        listener.setblocking(False)
        listener.listen(1024)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            for _ in range(100):
                accepted, _peer = listener.accept()
                accepted.setblocking(False)
                task = self.loop.create_task(self._connection(accepted))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
                # Also of a task that was cancelled before its first line.
                task.add_done_callback(functools.partial(_close, accepted))

    async def _connection(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        self.connections += 1
        number = self.connections
        line = Line(reader, writer)
        try:
            while line.keeps:
                asked = await self._read(reader, number)
                if asked is None:
                    break
                self.asked.append(asked)
                await self.handler(asked, line)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Asked | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        asked = Asked(method, target, headers, b"", number)
        if target in self.early:
            return asked
        if asked.header("transfer-encoding") == "chunked":
            asked.body = await _read_chunks(reader)
        elif asked.header("content-length"):
            asked.body = await reader.readexactly(int(asked.header("content-length") or 0))
        return asked


def _close(accepted: socket.socket, _task: asyncio.Task[None]) -> None:
    accepted.close()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)
