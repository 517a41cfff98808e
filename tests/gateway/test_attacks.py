"""What somebody sends who wants the gateway to lose its place, somebody's answer, or its time."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from time import monotonic

import pytest

from tests.gateway.mini_http import Asked, Line
from tests.gateway.stack import Stack, chat_body, eventually, post, read_all
from tests.gateway.test_framing import statuses
from tests.gateway.test_upgrades import LAST, SMUGGLED, asked
from webapp.foundation import paths
from webapp.gateway import settings
from webapp.gateway.http.connection import Connection
from webapp.gateway.process.routes import Routes
from webapp.gateway.process.state import State
from webapp.gateway.relay import web_relay

HANGS = json.dumps(chat_body("smol", {"hang": 0.3})).encode()
STREAMS = json.dumps(chat_body("smol", {"tokens": 3, "delay": 0.1}, stream=True)).encode()
PAGE = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UNREADABLE = [
    b"\x16\x03\x01 what\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\nzz\r\n",
    b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("broken", UNREADABLE)
def test_what_cannot_be_read_waits_for_the_answers_before_it(stack: Stack, broken: bytes) -> None:
    """The valid ones get theirs, the broken one its 400, and nothing behind it is read."""
    answer = stack.raw(post(HANGS) + PAGE + broken + LAST)
    assert statuses(answer) == [200, 200, 400]
    assert [page.target for page in stack.web.pages] == ["/page"]


@pytest.mark.parametrize("broken", UNREADABLE)
def test_a_running_stream_ends_before_the_400_behind_it(stack: Stack, broken: bytes) -> None:
    """Its head had promised to keep the connection: the client waited for the header timeout."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(post(STREAMS))
        begun = line.recv(10)
        line.sendall(broken)
        answer = begun + read_all(line)
    assert statuses(answer) == [200, 400]
    assert answer.index(b"[DONE]") < answer.index(b"HTTP/1.1 400 ")


def test_a_head_without_end_waits_for_the_answers_before_it(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(post(HANGS) + PAGE + b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(50):
            line.sendall(b"a" * 1000)
            time.sleep(0.001)
        assert statuses(read_all(line)) == [200, 200, 431]


@pytest.mark.parametrize(
    "last",
    [
        post(HANGS, extra="Connection: close\r\n"),
        post(HANGS).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        post(HANGS, extra="Proxy-Connection: close\r\n"),
    ],
)
def test_what_follows_the_last_request_does_not_cost_it_its_answer(stack: Stack, last: bytes) -> None:
    """RFC 9112, 9.6: behind `close` nothing is a request; it was a 400 in the place of the answer."""
    assert statuses(stack.raw(last + SMUGGLED + b"x" * 100_000)) == [200]
    assert stack.web.pages == []


def test_a_trailer_that_says_close_does_not_cost_the_answer(stack: Stack) -> None:
    answer = stack.raw(CHUNKED + b"3\r\nabc\r\n0\r\nConnection: close\r\n\r\n" + LAST)
    assert statuses(answer) == [200]
    assert [page.body for page in stack.web.pages] == [b"abc"]


def test_a_large_question_behind_a_slow_one_is_read_to_its_end(make_stack: Callable[..., Stack]) -> None:
    """Its beginning stopped the reading and nothing started it again: neither answer nor end, its bytes counted for
    ever, and a client that left was never noticed."""
    stack = make_stack().start()
    large = json.dumps(chat_body("smol", {"tokens": 1}, padding="x" * 600_000)).encode()
    assert statuses(stack.raw(post(HANGS) + post(large, extra="Connection: close\r\n"))) == [200, 200]
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(post(HANGS) + post(large)[:-10])
        assert line.recv(10) == b"HTTP/1.1 2"
    eventually(lambda: stack.metric("connections") == 0)
    assert stack.metric("buffered_request_bytes") == 0


def test_a_socket_that_the_gateway_refuses_itself_ends_the_connection(stack: Stack) -> None:
    """The parser has stopped behind it; the answer said nothing of an end and nobody read on."""
    head = asked("/ws/../internal/gateway/snapshot", "websocket", method="GET")
    answer = stack.raw(f"{head}\r\n".encode() + LAST)
    assert statuses(answer) == [404]
    assert b"connection: close" in answer


def test_a_body_behind_the_answer_to_head_is_dropped(make_stack: Callable[..., Stack]) -> None:
    """It would be taken for the next answer, and through nginx that is somebody else's."""
    stack = make_stack()
    hidden = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"

    async def answer(question: Asked, line: Line) -> None:
        if question.method == "HEAD":
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(hidden), hidden))
        else:
            await usual(question, line)

    stack.start()
    usual, stack.web.server.handler = stack.web.server.handler, answer
    assert statuses(stack.raw(b"HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n" + LAST)) == [200, 200]


def test_a_body_in_tiny_chunks_is_handed_on_by_the_read(make_stack: Callable[..., Stack]) -> None:
    """Six bytes for one of body: each chunk became a write of its own, and 6 MB without a key held everybody up for
    seconds. What counts is how many pieces reach web, whatever the machine."""
    stack = make_stack()
    pieces: list[int] = []

    async def answer(question: Asked, line: Line) -> None:
        if question.target != "/early":
            await usual(question, line)
            return
        while size := int(await line.reader.readline(), 16):
            pieces.append(size)
            await line.reader.readexactly(size + 2)
        await line.reader.readexactly(2)
        await line.answer(200, b"")

    stack.start()
    usual, stack.web.server.handler = stack.web.server.handler, answer
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(stack.raw(head + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")) == [200]
    assert sum(pieces) == 100_000
    assert len(pieces) < 1000


def test_a_body_that_trickles_is_given_up(make_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte a minute kept its connection, and one to web, for ever."""
    stack = make_stack()
    stack.web.start()
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    for folder in (paths.gateway_dir(), settings.usage_dir()):
        folder.mkdir(parents=True, exist_ok=True)

    async def trickle() -> bytes:
        state = State(settings.from_environment(0))
        service = Routes(state)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(service), "127.0.0.1", stack.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(b"POST /page HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = state.connections
        relay = connection._handler
        assert relay is not None
        relay.check(monotonic() + web_relay.FIRST_BYTE_TIMEOUT_S + 1)
        answer = await reader.read(100)
        writer.close()
        server.close()
        state.close()
        return answer

    assert statuses(asyncio.run(trickle())) == [408]
