"""One client that wants too much: it is told so, and the others do not notice."""

import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.gateway.yard import ADA, EVE, Yard, announced, chat_body, eventually, post, read_all

CAP = 100


@contextmanager
def held_streams(yard: Yard, count: int) -> Iterator[list[socket.socket]]:
    """ADA's requests that get no answer for a while."""
    body = post(json.dumps(chat_body("smol", {"hang": 30}, stream=True)).encode())
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", yard.port))) for _ in range(count)]
        for line in lines:
            line.sendall(body)
        yield lines


def patient(yard: Yard) -> Yard:
    """Engines may take their time, and eve has one of her own."""
    yard.web.snapshot["deployments"] = [
        yard.deployment(7, "smol", first_byte_timeout_s=60, replicas=[yard.replica(11, 0)]),
        yard.deployment(21, "hidden", team=5, replicas=[yard.replica(18, 1)]),
    ]
    return yard


def p95_ms(yard: Yard, count: int = 100) -> float:
    """Of small requests by eve, one after the other on one connection."""
    connection = yard.connect()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(chat_body("hidden")), {"Authorization": f"Bearer {EVE}"}
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        times.append((time.perf_counter() - started) * 1000)
    connection.close()
    return statistics.quantiles(times, n=20)[-1]


def test_a_key_with_too_many_requests_at_once_is_told_when_to_come_back(make_yard: Callable[..., Yard]) -> None:
    yard = patient(make_yard(MODELYARD_MAX_KEY_REQUESTS="3")).start()
    with held_streams(yard, 3):
        eventually(lambda: yard.engine.running == 3)
        answer = yard.chat()
        assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
        assert "3 requests" in answer.error["message"]
        assert answer.headers["retry-after"] == "1"
        assert yard.chat("hidden", key=EVE).status == 200
    eventually(lambda: yard.chat().status == 200)


def test_places_are_given_back_after_every_kind_of_end(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(MODELYARD_MAX_KEY_REQUESTS="1").start()
    for members in (
        {},
        {"stream": True},
        {"fake": {"status": 400, "text": "{}"}},
        {"fake": {"die": "at once"}},
        {"fake": {"hang": 5}},
        {"model": "asleep"},
        {"model": "unknown"},
    ):
        for _ in range(2):
            assert yard.chat(**{"model": "smol", **members}).status != 429
    assert yard.ask("POST", "/v1/chat/completions", b"{").status == 400
    with held_streams(yard, 1):
        eventually(lambda: yard.engine.running >= 1)
    eventually(lambda: yard.chat().status == 200)


def test_the_cap_counts_over_all_gateway_processes(make_yard: Callable[..., Yard]) -> None:
    yard = patient(make_yard(MODELYARD_MAX_KEY_REQUESTS="8", MODELYARD_GATEWAY_PROCESSES="2")).start()
    yard.launch(1)
    eventually(lambda: "snapshot 1" in yard.log(1))
    with held_streams(yard, 40) as lines:
        eventually(lambda: yard.engine.running >= 8)
        told = 'refused_total{code="too_many_requests"} '
        eventually(lambda: sum(int(yard.metrics(n).partition(told)[2].split()[0]) for n in (0, 1)) == 32)
        refused = 0
        for line in lines:
            line.settimeout(0.2)
            refused += b"HTTP/1.1 429 " in read_all(line)
        assert (yard.engine.running, refused) == (8, 32)


def test_500_streams_by_one_key_and_200_slow_heads_leave_others_as_fast_as_before(
    make_yard: Callable[..., Yard],
) -> None:
    yard = patient(make_yard(MODELYARD_MAX_KEY_REQUESTS=str(CAP))).start()
    before = min(p95_ms(yard) for _ in range(3))
    with held_streams(yard, 500), ExitStack() as stack:
        eventually(lambda: yard.engine.running == CAP)
        for _ in range(200):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", yard.port)))
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHo")
        eventually(lambda: yard.metric("connections") >= 500 + 200)
        eventually(lambda: 'refused_total{code="too_many_requests"} 400' in yard.metrics())
        # The machine may be busy with something else for a while; the flood goes on as long as it takes.
        eventually(lambda: p95_ms(yard) < 2 * before)
        assert yard.engine.running == CAP


@pytest.mark.parametrize("framing", ["Content-Length: 1073741824", "Transfer-Encoding: chunked"])
def test_a_body_of_a_gigabyte_is_refused_long_before_it_is_there(yard: Yard, framing: str) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if "chunked" in framing else b"x" * 65536
    sent = 0
    with socket.create_connection(("127.0.0.1", yard.port), timeout=30) as line:
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
    assert yard.metric("buffered_request_bytes") == 0
    assert yard.chat().status == 200


def test_many_announced_bodies_are_let_in_only_as_far_as_memory_goes(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(MODELYARD_MAX_BODY_BYTES=str(1 << 20), MODELYARD_MAX_BUFFERED_BYTES=str(4 << 20)).start()
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", yard.port))) for _ in range(10)]
        for line in lines:
            line.sendall(announced(f"Content-Length: {1 << 20}"))
        eventually(lambda: yard.metric("buffered_request_bytes") == 4 << 20)
        answered = 0
        for line in lines:
            line.settimeout(0.2)
            answered += b"HTTP/1.1 503 " in read_all(line)
        assert answered == 6
    eventually(lambda: yard.metric("buffered_request_bytes") == 0)


def test_the_key_of_a_flood_is_the_only_one_that_is_refused(make_yard: Callable[..., Yard]) -> None:
    yard = patient(make_yard(MODELYARD_MAX_KEY_REQUESTS="2")).start()
    with held_streams(yard, 20):
        eventually(lambda: yard.engine.running == 2)
        statuses = [yard.chat("hidden", key=EVE).status for _ in range(10)]
        assert statuses == [200] * 10
        assert yard.chat(key=ADA).status == 429
