"""One client that wants too much: it is told so, and the others do not notice."""

import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.gateway.stack import ADA, EVE, Stack, announced, chat_body, eventually, post, read_all
from tests.gateway.test_process import cpu_ns

CAP = 100
HELD = post(json.dumps(chat_body("smol", {"hang": 3000}, stream=True)).encode())


@contextmanager
def held_streams(stack: Stack, count: int) -> Iterator[list[socket.socket]]:
    """ADA's requests that get no answer."""
    with ExitStack() as exits:
        lines = [exits.enter_context(socket.create_connection(("127.0.0.1", stack.port))) for _ in range(count)]
        for line in lines:
            line.sendall(HELD)
        yield lines


def answered(lines: list[socket.socket], status: int) -> int:
    """How many have been answered by now, each with this status."""
    ready, _, _ = select.select(lines, [], [], 0)
    assert all(line.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 %d " % status) for line in ready)
    return len(ready)


def patient(stack: Stack) -> Stack:
    """Engines may take all the time of a test, and eve has one of her own."""
    stack.web.snapshot["deployments"] = [
        stack.deployment(7, "smol", first_byte_timeout_s=3600, replicas=[stack.replica(11, 0)]),
        stack.deployment(21, "hidden", team=5, replicas=[stack.replica(18, 1)]),
    ]
    return stack


def cost_us(stack: Stack, count: int = 100) -> float:
    """What a small request by eve costs the gateway; they come one after the other on one connection."""
    connection = stack.connect()
    before = cpu_ns(stack.processes[-1].pid)
    for _ in range(count):
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(chat_body("hidden")), {"Authorization": f"Bearer {EVE}"}
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()
    return (cpu_ns(stack.processes[-1].pid) - before) / count / 1000


def test_a_key_with_too_many_requests_at_once_is_told_when_to_come_back(make_stack: Callable[..., Stack]) -> None:
    stack = patient(make_stack(MODELYARD_MAX_KEY_REQUESTS="3")).start()
    with held_streams(stack, 3):
        eventually(lambda: stack.engine.running == 3)
        answer = stack.chat()
        assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
        assert "3 requests" in answer.error["message"]
        assert answer.headers["retry-after"] == "1"
        assert stack.chat("hidden", key=EVE).status == 200
    eventually(lambda: stack.chat().status == 200)


def test_places_are_given_back_after_every_kind_of_end(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_MAX_KEY_REQUESTS="1")
    stack.web.snapshot["deployments"][0]["first_byte_timeout_s"] = 1
    stack.start()
    for members in (
        {},
        {"stream": True},
        {"fake": {"status": 400, "text": "{}"}},
        {"fake": {"die": "at once"}},
        {"fake": {"hang": 600}},
        {"model": "asleep"},
        {"model": "unknown"},
    ):
        for _ in range(2):
            assert stack.chat(**{"model": "smol", **members}).status != 429
    assert stack.ask("POST", "/v1/chat/completions", b"{").status == 400
    with held_streams(stack, 1):
        eventually(lambda: stack.engine.running >= 1)
    eventually(lambda: stack.chat().status == 200)


def test_the_cap_counts_over_all_gateway_processes(make_stack: Callable[..., Stack]) -> None:
    stack = patient(make_stack(MODELYARD_MAX_KEY_REQUESTS="8", MODELYARD_GATEWAY_PROCESSES="2")).start()
    stack.launch(1)
    eventually(lambda: "snapshot 1" in stack.log(1))
    with ExitStack() as exits:
        lines = [exits.enter_context(socket.create_connection(("127.0.0.1", stack.port))) for _ in range(40)]
        for number, line in enumerate(lines, 1):
            # One after the other: two processes that count in the same moment do not see each other.
            line.sendall(HELD)
            eventually(lambda: stack.engine.running + answered(lines, 429) == number)  # noqa: B023
        assert (stack.engine.running, answered(lines, 429)) == (8, 32)
        told = 'refused_total{code="too_many_requests"} '
        refused = [int(stack.metrics(n).partition(told)[2].split()[0]) for n in (0, 1)]
        assert sum(refused) == 32 and all(refused), "both processes count"


def test_500_streams_by_one_key_and_200_slow_heads_make_nobody_elses_requests_dearer(
    make_stack: Callable[..., Stack],
) -> None:
    waits = {"MODELYARD_HEADER_TIMEOUT_S": "3600", "MODELYARD_IDLE_TIMEOUT_S": "3600"}
    stack = patient(make_stack(MODELYARD_MAX_KEY_REQUESTS=str(CAP), **waits)).start()
    before = min(cost_us(stack) for _ in range(3))
    with held_streams(stack, 500), ExitStack() as exits:
        eventually(lambda: stack.engine.running == CAP)
        for _ in range(200):
            slow = exits.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHo")
        eventually(lambda: stack.metric("connections") >= 500 + 200)
        eventually(lambda: 'refused_total{code="too_many_requests"} 400' in stack.metrics())
        # In processor time, which is the gateway's own; caches that others empty are given another chance.
        eventually(lambda: cost_us(stack) < 2 * before)
        assert stack.engine.running == CAP


@pytest.mark.parametrize("framing", ["Content-Length: 1073741824", "Transfer-Encoding: chunked"])
def test_a_body_of_a_gigabyte_is_refused_long_before_it_is_there(stack: Stack, framing: str) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if "chunked" in framing else b"x" * 65536
    sent = 0
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(announced(framing))
        try:
            while sent < 1 << 30:
                line.sendall(piece)
                sent += len(piece)
        except (ConnectionError, TimeoutError):
            pass
        answer = read_all(line)
    assert sent < 96 << 20
    assert answer.startswith(b"HTTP/1.1 413 ") or not answer
    assert stack.metric("buffered_request_bytes") == 0
    assert stack.chat().status == 200


def test_many_announced_bodies_are_let_in_only_as_far_as_memory_goes(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_MAX_BODY_BYTES=str(1 << 20), MODELYARD_MAX_BUFFERED_BYTES=str(4 << 20)).start()
    with ExitStack() as exits:
        lines = [exits.enter_context(socket.create_connection(("127.0.0.1", stack.port))) for _ in range(10)]
        for line in lines:
            line.sendall(announced(f"Content-Length: {1 << 20}"))
        eventually(lambda: stack.metric("buffered_request_bytes") == 4 << 20)
        eventually(lambda: answered(lines, 503) == 6)
    eventually(lambda: stack.metric("buffered_request_bytes") == 0)


def test_the_key_of_a_flood_is_the_only_one_that_is_refused(make_stack: Callable[..., Stack]) -> None:
    stack = patient(make_stack(MODELYARD_MAX_KEY_REQUESTS="2")).start()
    with held_streams(stack, 20):
        eventually(lambda: stack.engine.running == 2)
        statuses = [stack.chat("hidden", key=EVE).status for _ in range(10)]
        assert statuses == [200] * 10
        assert stack.chat(key=ADA).status == 429
