"""One HTTP question to an engine: whatever comes back, or does not, is one outcome within its limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from webapp.engines.base import ProbeOutcome, ProbeSpec
from webapp.engines.llamacpp.metrics import METRICS as OF_LLAMACPP
from webapp.foundation.reach import Address, Reach
from workers.hosts import asker, metrics
from workers.hosts.asker import LATE, MOST_BYTES, ask

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEALTH = ProbeSpec("GET", "/health", timeout_s=60)


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Reach]:
    """The way to a server; its last connection has ended when this has."""
    connections: list[asyncio.Task[Any] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Reach(1, Address("127.0.0.1", server.sockets[0].getsockname()[1]))
    await asyncio.wait_for(asyncio.gather(*(each for each in connections if each)), 60)


def outcome_of(serve: Serve, probe: ProbeSpec = HEALTH) -> ProbeOutcome:
    """What a question to this server comes to."""

    async def story() -> ProbeOutcome:
        async with serving(serve) as reach:
            return await ask(reach, probe)

    return asyncio.run(story())


def saying(*pieces: bytes) -> Serve:
    """A server that sends these pieces, each in a packet of its own, and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return serve


def keeping_open(*pieces: bytes) -> Serve:
    """A server that sends these pieces and then nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        await reader.read()  # until the other side has gone

    return serve


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], 200, b"ok"),
        ([b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"], 503, b"no"),
        ([b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end"], 200, b"until the end"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], 200, b"ok"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokand more of it"], 200, b"ok"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx"], 200, b""),
        ([*(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], 200, b"ok"),
    ],
)
def test_an_answer_is_read(pieces: list[bytes], status: int, body: bytes) -> None:
    assert outcome_of(saying(*pieces)) == ProbeOutcome(status, body, None)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"HTTP/1.1 200"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
    ],
)
def test_an_answer_that_breaks_off_is_none(pieces: list[bytes]) -> None:
    """Half of a health report is no health, and half of the metrics are other numbers."""
    assert outcome_of(saying(*pieces)) == ProbeOutcome(None, b"", "the connection was closed")


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-nonsense\r\n\r\n",
        b"\x00\xff" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_garbage_is_told_as_such(reply: bytes) -> None:
    outcome = outcome_of(saying(reply))
    assert outcome.status is None and outcome.body == b""
    assert outcome.error is not None and outcome.error.startswith("no HTTP")


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\n"], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"]])
def test_a_slow_answer_ends_with_the_time_of_the_question(pieces: list[bytes]) -> None:
    outcome = outcome_of(keeping_open(*pieces), ProbeSpec("GET", "/health", timeout_s=0.2))
    assert outcome == ProbeOutcome(None, b"", f"{LATE} 0.2 s")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Endless: ",
    ],
)
def test_a_huge_answer_is_not_read_to_its_end(head: bytes) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while sent < 20 * MOST_BYTES:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    assert outcome_of(serve) == ProbeOutcome(None, b"", "the answer is too long")
    assert sent < 20 * MOST_BYTES, "it kept on reading"


def test_as_much_as_is_allowed_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    body = b"x" * (MOST_BYTES - len(head))
    assert outcome_of(saying(head + body)) == ProbeOutcome(200, body, None)


def test_a_redirect_is_an_answer_like_any_other() -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    assert outcome_of(serve).status == 302
    assert asked == [b"GET /health HTTP/1.1"]


def test_what_is_asked(tmp_path: Path) -> None:
    """Over a unix socket, which has no name to be called by; the length of a body is its bytes."""
    told = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal told
        told = await reader.readuntil("ü".encode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def story() -> ProbeOutcome:
        async with await asyncio.start_unix_server(serve, tmp_path / "e.sock"):
            reach = Reach(7, Address("", 0, f"{tmp_path}/e.sock"))
            return await ask(reach, ProbeSpec("POST", "/v1/completions", "ü".encode(), timeout_s=60))

    assert asyncio.run(story()).status == 200
    assert told.decode().split("\r\n") == [
        "POST /v1/completions HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json",
        "Content-Length: 2", "", "ü",
    ]  # fmt: skip


def test_nobody_at_the_address_is_an_outcome_too(tmp_path: Path) -> None:
    for address in (Address("127.0.0.1", 1), Address("", 0, f"{tmp_path}/none.sock")):
        outcome = asyncio.run(ask(Reach(1, address), HEALTH))
        assert outcome.status is None and outcome.error


def test_the_connection_is_given_up_whatever_came_back() -> None:
    after = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
        await writer.drain()
        after.append(await reader.read())

    assert outcome_of(serve).body == b"ok"
    assert after == [b""]


@pytest.mark.parametrize(
    ("reply", "running"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nllamacpp:requests_processing 2\n", 2),
        (b"HTTP/1.1 501 No\r\n\r\nllamacpp:requests_processing 2\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nllamacpp:requests_processing 2\n", None),
        (b"", None),
    ],
)
def test_running_requests_are_asked_for(reply: bytes, running: int | None) -> None:
    async def story() -> int | None:
        async with serving(saying(reply)) as reach:
            return await asyncio.to_thread(metrics.running_requests, reach, OF_LLAMACPP)

    assert asyncio.run(story()) == running


def test_nothing_else_here_speaks_http() -> None:
    """Hubs have rules of their own (webapp.catalog.outbound), the launcher asks only the site that it started."""
    root = Path(asker.__file__).parents[1]
    words = ("http.client", "import httptools", "urllib.request", "import httpx", "import requests")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(word in path.read_text() for word in words) and "launcher" not in path.parts
    }
    # docker.py only maps the errors of the library below Docker's.
    assert found == {"hosts/asker.py", "runtime/docker.py"}
