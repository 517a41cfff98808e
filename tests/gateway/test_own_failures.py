"""A mistake of the gateway's own is answered, logged and written down once, wherever in a request it happens."""

import asyncio
import gc
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.gateway.stack import ADA, Stack, chat_body
from webapp.foundation import paths
from webapp.gateway import settings
from webapp.gateway.admission.body_room import BodyRoom
from webapp.gateway.http.connection import Connection
from webapp.gateway.http.pool import Pool
from webapp.gateway.inference import request_body
from webapp.gateway.inference.document_reply import DocumentReply
from webapp.gateway.inference.exchange import Exchange
from webapp.gateway.inference.stream_reply import StreamReply
from webapp.gateway.process.routes import Routes
from webapp.gateway.process.state import State
from webapp.gateway.routing.snapshot import from_parts

Plant = Callable[[pytest.MonkeyPatch, State], None]


class PlantedError(Exception):
    """Nobody expects it."""


def fails(*arguments: Any, **named: Any) -> Any:
    raise PlantedError("planted")


async def fails_later(*arguments: Any) -> Any:
    raise PlantedError("planted")


@pytest.fixture
def stack(make_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Engines and an environment; the gateway's parts run in the test, so that one can be broken."""
    stack = make_stack(MODELYARD_MAX_BUFFERED_BYTES=str(1 << 20))
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    for folder in (paths.gateway_dir(), settings.usage_dir()):
        folder.mkdir(parents=True, exist_ok=True)
    yield stack


def served(stack: Stack, scene: Callable[[State], Awaitable[Any]]) -> Any:
    """What the scene returns, played beside a gateway."""

    async def play() -> Any:
        state = State(settings.from_environment(0))
        document = json.dumps(stack.web.snapshot).encode()
        state.table.adopt(from_parts(document, document))
        service = Routes(state)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", stack.port)
        try:
            return await scene(state)
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            await state.ledger.journal.close(0)
            state.close()
            state.disk.shutdown()

    return asyncio.run(play())


def question(model: str = "smol", **members: Any) -> bytes:
    body = json.dumps(chat_body(model, **members)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADA}\r\nX-Request-Id: planted-1\r\n"
    )
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def asked(stack: Stack, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


def in_task_that_connects(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    monkeypatch.setattr(Pool, "open", fails_later)


def in_task_that_asks_web(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    state.inference.hear_news = fails_later


def when_the_body_is_read(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    monkeypatch.setattr(request_body, "read", fails)


def when_the_body_is_counted(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    monkeypatch.setattr(request_body, "for_engine", fails)


def when_the_answer_begins(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    monkeypatch.setattr(Exchange, "response_started", fails)


def when_the_answer_ends(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    monkeypatch.setattr(DocumentReply, "finish", fails)


def at_a_step_of_admission(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    state.inference.admission.steps += (fails,)


@pytest.mark.parametrize(
    ("plant", "model", "outcome"),
    [
        (in_task_that_connects, "smol", "gateway_failed"),
        (in_task_that_asks_web, "waking", "gateway_failed"),
        (when_the_body_is_counted, "smol", "gateway_failed"),
        (when_the_answer_begins, "smol", "gateway_failed"),
        (when_the_answer_ends, "smol", "gateway_failed"),
        # No deployment is known yet: it is counted among the refusals.
        (when_the_body_is_read, "smol", None),
        (at_a_step_of_admission, "smol", None),
    ],
)
def test_an_error_nobody_expected_is_answered_logged_and_written_down_once(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    plant: Plant,
    model: str,
    outcome: str | None,
) -> None:
    async def scene(state: State) -> tuple[bytes, dict[Any, int], int, int, int]:
        plant(monkeypatch, state)
        answer = await asked(stack, question(model))
        tallies = state.ledger.metrics.tallies
        ended = {key: count for tally in tallies.values() for key, count in tally.requests.items()}
        in_flight = sum(state.table.loads.cells), sum(state.inference.admission._slots._table.cells)
        return answer, ended, state.ledger.metrics.refused["gateway_failed"], *in_flight

    with caplog.at_level(logging.ERROR):
        answer, ended, refused, replicas, slots = served(stack, scene)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"x-request-id: planted-1" in head and b"x-modelyard-failed: gateway" in head
    error = json.loads(body)["error"]
    assert (error["type"], error["code"], error["source"]) == ("server_error", "gateway_failed", "gateway")
    assert error["request_id"] == "planted-1"
    assert ended == ({("chat/completions", 500, outcome): 1} if outcome else {})
    assert refused == (0 if outcome else 1)
    assert (replicas, slots) == (0, 0)
    (logged,) = [record for record in caplog.records if "planted-1" in record.getMessage()]
    assert logged.exc_info is not None and logged.exc_info[0] is PlantedError


def test_a_stream_that_fails_in_the_gateway_ends_with_an_error_event(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = StreamReply.data
    reads: list[bytes] = []

    def fails_at_the_second(reply: StreamReply, data: bytes) -> None:
        reads.append(data)
        if len(reads) > 1 and reply.has_written:
            fails()
        said(reply, data)

    async def scene(state: State) -> bytes:
        monkeypatch.setattr(StreamReply, "data", fails_at_the_second)
        monkeypatch.setattr(StreamReply, "event", fails_at_the_second)
        return await asked(stack, question(fake={"tokens": 20, "delay": 0.01}, stream=True))

    answer = served(stack, scene)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"code":"gateway_failed"' in answer
    assert not answer.endswith(b"0\r\n\r\n")


def test_a_page_that_fails_in_the_gateway_is_answered(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(state: State) -> bytes:
        monkeypatch.setattr(Pool, "open", fails_later)
        return await asked(stack, b"GET /models/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert served(stack, scene).startswith(b"HTTP/1.1 500 ")


def test_bodies_that_are_kept_while_their_requests_run_count(stack: Stack) -> None:
    """64 KiB of each were kept for counting and counted by nobody: with 10,000 connections that is 640 MB."""
    padding = "x" * 50_000
    held = question(fake={"holds": True, "tokens": 3}, stream=True, padding=padding).replace(
        b"Connection: close\r\n", b""
    )
    size = len(held.partition(b"\r\n\r\n")[2])

    async def scene(state: State) -> tuple[int, bytes, int]:
        bodies: BodyRoom = state.inference.admission.bodies
        lines = []
        for number in range(1, (1 << 20) // size + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(held)
            lines.append(writer)
            await reader.readuntil(b"\r\n\r\n")  # the answer has begun, so the body is not on its way any more
            assert number * size <= bodies.held_bytes <= number * (size + 100)
        answer = await asked(stack, held)
        for writer in lines:
            writer.close()
        while state.connections:
            await asyncio.sleep(0)
        return len(lines), answer, bodies.held_bytes

    count, answer, left = served(stack, scene)
    assert count > 15
    assert answer.startswith(b"HTTP/1.1 503 ") and b"gateway_busy" in answer
    assert left == 0


def test_finished_requests_leave_nothing_for_the_cycle_collector(stack: Stack) -> None:
    """It is told to come seldom, because it walks through all open streams: what waits for it is memory in use."""

    async def scene(state: State) -> int:
        usual = question(), question(fake={"tokens": 3}, stream=True), question("unknown")
        for data in usual:
            await asked(stack, data)
        found = 0
        gc.collect()
        gc.disable()
        try:
            for data in usual:
                await asked(stack, data)
            while state.connections:
                await asyncio.sleep(0)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = sum(type(thing).__module__.startswith("webapp.") for thing in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        return found

    assert served(stack, scene) == 0
