"""Engines that fail, fall silent or vanish, and clients that do: what is seen, and what never happens twice."""

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.fake_engine import FakeEngine
from tests.gateway.freezing import frozen
from tests.gateway.stack import ADA, Stack, chat_body, eventually, post, read_all


@pytest.mark.parametrize(
    ("status", "text", "seen", "code", "message"),
    [
        (
            400,
            {"error": {"message": "too long", "type": "bad", "param": "max", "code": 400}},
            400,
            "engine_error",
            "too long",
        ),
        (400, {"error": {"message": "m", "type": "t", "code": "context_length"}}, 400, "context_length", "m"),
        (
            422,
            {"object": "error", "message": "flat", "type": "t", "param": None, "code": 422},
            422,
            "engine_error",
            "flat",
        ),
        (424, {"error": "tgi text", "error_type": "generation"}, 424, "engine_error", "tgi text"),
        (500, {"error": {"message": "tabby", "trace": "secret"}}, 500, "engine_error", "tabby"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too big"}]}, 422, "engine_error", "body.n: too big"),
        (404, {"detail": "Not Found"}, 404, "engine_error", "Not Found"),
        (
            503,
            {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
            503,
            "engine_error",
            "Loading",
        ),
        (401, {"error": "Unauthorized"}, 502, "upstream_error", "Unauthorized"),
        (500, "Internal Server Error", 502, "upstream_error", "500"),
        (500, "", 502, "upstream_error", "500"),
        (502, "<html>", 502, "upstream_error", "502"),
    ],
)
def test_every_error_shape_of_an_engine_becomes_one(
    stack: Stack, status: int, text: object, seen: int, code: str, message: str
) -> None:
    body = text if isinstance(text, str) else json.dumps(text)
    answer = stack.chat(fake={"status": status, "text": body})
    who = "client" if seen in (400, 404, 422, 424) else "engine"
    assert (answer.status, answer.error["code"], answer.error["source"]) == (seen, code, who)
    assert message in answer.error["message"]
    assert set(answer.error) == {"message", "type", "param", "code", "source", "request_id"}
    assert "secret" not in str(answer.body)
    assert answer.headers["x-modelyard-failed"] == who
    outcome = "client_error" if who == "client" else "engine_failed"
    assert stack.record(answer.request_id)["outcome"] == outcome


def test_an_engine_that_dies_in_a_stream_leaves_an_error_event_and_a_broken_end(stack: Stack) -> None:
    body = json.dumps(chat_body("smol", {"tokens": 9, "die_after": 4}, stream=True)).encode()
    answer = stack.raw(post(body))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b'"content": " t') == 4
    assert b'"code":"upstream_error"' in answer
    assert b'"source":"engine"' in answer
    assert b"[DONE]" not in answer
    assert b"\r\n0\r\n\r\n" not in answer
    (request_id,) = re.findall(rb"x-request-id: (\w+)", answer)
    record = stack.record(request_id.decode())
    assert (record["outcome"], record["completion_tokens"], record["counted_by"]) == ("engine_failed", 4, "estimate")
    assert len(stack.engine.asked) == 1


@pytest.mark.parametrize("die", ["at once", "politely"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_that_dies_before_its_answer_is_a_502_and_nobody_is_asked_again(
    stack: Stack, die: str, stream: bool
) -> None:
    for _ in range(3):
        stack.chat("pair")
    for engine in stack.engines:
        engine.asked.clear()
    answer = stack.chat("pair", stream=stream, fake={"die": die})
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert sum(len(engine.asked) for engine in stack.engines) == 1


def test_an_engine_that_dies_between_head_and_body_is_a_proper_502(stack: Stack) -> None:
    raw = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    answer = stack.chat(fake={"raw": raw, "keeps": False})
    assert (answer.status, answer.error["source"]) == (502, "engine")


def test_a_document_that_breaks_off_is_not_made_to_look_whole(stack: Stack) -> None:
    raw = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"half":'
    body = json.dumps(chat_body("smol", {"raw": raw, "keeps": False})).encode()
    head, _, rest = stack.raw(post(body)).partition(b"\r\n\r\n")
    assert b"content-length: 50" in head
    assert rest == b'{"half":'


@pytest.mark.parametrize("last", ["data: [DONE]\n\n", ""])
def test_a_stream_that_ends_with_the_connection_needs_a_last_word(stack: Stack, last: str) -> None:
    raw = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"a":1}\n\n' + last
    body = json.dumps(chat_body("smol", {"raw": raw, "keeps": False}, stream=True)).encode()
    answer = stack.raw(post(body, extra="Connection: close\r\n"))
    assert answer.endswith(b"0\r\n\r\n") is bool(last)
    assert (b"upstream_error" in answer) is not bool(last)


@pytest.mark.parametrize(
    "raw", ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"]
)
def test_an_answer_that_is_not_http_is_a_502(stack: Stack, raw: str) -> None:
    assert stack.chat(fake={"raw": raw}).status == 502


def test_an_engine_cannot_slip_in_the_answer_to_the_next_request(stack: Stack) -> None:
    one = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    assert stack.chat(fake={"raw": one * 2}).status == 502
    assert stack.chat(fake={"raw": one + "HTTP/1.1 200"}).status == 502
    assert stack.chat().json()["usage"]["completion_tokens"] == 5


def test_an_answer_without_a_body_keeps_the_connection_in_step(stack: Stack) -> None:
    body = json.dumps(chat_body("smol", {"raw": "HTTP/1.1 204 No Content\r\n\r\n"})).encode()
    again = json.dumps(chat_body("smol")).encode()
    answer = stack.raw(post(body) + post(again, extra="Connection: close\r\n"))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"204", b"200"]
    assert b"chunked" not in answer


def test_interim_answers_of_an_engine_are_skipped(stack: Stack) -> None:
    raw = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    answer = stack.chat(fake={"raw": raw})
    assert (answer.status, answer.body) == (200, b"{}")


def test_a_silent_engine_is_given_up_before_the_first_byte(make_stack: Callable[..., Stack]) -> None:
    stack = hasty(make_stack(), first_byte_timeout_s=1).start()
    answer = stack.chat(fake={"hang": 600})
    assert (answer.status, answer.error["code"], answer.error["source"]) == (504, "first_byte_timeout", "engine")
    eventually(lambda: stack.engine.running == 0)
    assert stack.engine.cancelled == 1


def test_a_silent_engine_is_given_up_between_tokens(make_stack: Callable[..., Stack]) -> None:
    stack = hasty(make_stack(), gap_timeout_s=1).start()
    # In one piece, so that no gap is between them.
    raw = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    event = 'data: {"choices":[{"index":0,"delta":{"content":"t"}}]}\n\n'
    raw += f"{len(event):x}\r\n{event}\r\n" * 3
    body = json.dumps(chat_body("smol", {"raw": raw, "then_hangs": True}, stream=True)).encode()
    answer = stack.raw(post(body))
    assert answer.count(b'"content":"t"') == 3
    assert b'"code":"gap_timeout"' in answer
    assert not answer.endswith(b"0\r\n\r\n")
    eventually(lambda: stack.engine.running == 0)


def test_a_replica_that_refuses_connections_is_passed_over(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.engines[0].stop()
    stack.start()
    for _ in range(4):
        assert stack.chat("pair").headers["x-modelyard-served-by"] == "pair/15"
    answer = stack.chat("smol")
    assert (answer.status, answer.error["code"]) == (503, "engine_unreachable")
    assert int(answer.headers["retry-after"]) > 0


def test_an_engine_behind_a_unix_socket_is_an_engine_like_any_other(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    engine = FakeEngine(str(stack.folder / "run" / "engine.sock")).start()
    stack.engines.append(engine)
    replicas = [{"id": 30, "url": engine.url, "state": "ready"}]
    stack.web.snapshot["deployments"].append(stack.deployment(30, "local", replicas=replicas))
    stack.start()
    assert stack.chat("local", stream=True).events()[-1] == "[DONE]"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_pooled_connection_that_the_engine_has_just_closed_costs_nothing(
    make_stack: Callable[..., Stack], kind: str
) -> None:
    """The gateway is frozen while first a request arrives and then the engine closes its idle connection. When it goes
    on it writes the request before it sees the close, and must find out that nobody got it."""
    stack = make_stack()
    engine = FakeEngine(str(stack.folder / "run" / "engine.sock") if kind == "unix" else None).start()
    stack.engines.append(engine)
    replicas = [{"id": 30, "url": engine.url, "state": "ready"}]
    stack.web.snapshot["deployments"] = [stack.deployment(30, "smol", replicas=replicas)]
    stack.start()
    assert stack.chat().status == 200
    (gateway,) = stack.processes
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        eventually(lambda: stack.metric("connections") == 1)
        with frozen(gateway):
            line.sendall(post(json.dumps(chat_body("smol")).encode(), extra="Connection: close\r\n"))
            tasks = engine.server.tasks
            engine.server.loop.call_soon_threadsafe(lambda: [task.cancel() for task in list(tasks)])
            eventually(lambda: not tasks)
        assert read_all(line).startswith(b"HTTP/1.1 200 ")
    assert len(engine.asked) == 2
    assert stack.metric("retries_total") == 1


def test_a_client_that_leaves_stops_the_engine_long_before_its_answer_ends(stack: Stack) -> None:
    lines = []
    for _ in range(20):
        line = stack.connect()
        body = json.dumps(chat_body("smol", {"tokens": 100_000, "delay": 0.05}, stream=True))
        line.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
        line.getresponse().read(1)
        lines.append(line)
    assert stack.engine.running == 20
    for line in lines:
        line.close()
    # The answers would go on for more than an hour.
    eventually(lambda: stack.engine.running == 0)
    assert stack.engine.cancelled == 20
    eventually(lambda: [r["outcome"] for r in stack.web.records].count("client_gone") == 20)
    assert {r["counted_by"] for r in stack.web.records if r["outcome"] == "client_gone"} == {"estimate"}


def test_a_client_that_leaves_while_the_engine_thinks_stops_it_too(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port)) as line:
        line.sendall(post(json.dumps(chat_body("smol", {"hang": 600})).encode()))
        eventually(lambda: stack.engine.running == 1)
    eventually(lambda: stack.engine.running == 0)


def test_a_slow_client_slows_the_engine_and_not_the_memory_of_the_gateway(stack: Stack) -> None:
    """100 MB are there to be sent; without back-pressure the gateway would hold what the client has not read."""
    (gateway,) = stack.processes
    before = resident_bytes(gateway.pid)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", stack.port))
        line.settimeout(60)
        line.sendall(post(json.dumps(chat_body("smol", {"tokens": 1000, "padding": 100_000}, stream=True)).encode()))
        eventually(lambda: stack.engine.running == 1)
        time.sleep(1)  # what could come comes
        assert stack.engine.running == 1
        assert resident_bytes(gateway.pid) - before < 10_000_000
        received = 0
        while b"[DONE]" not in (data := line.recv(1 << 20)):
            received += len(data)
        assert received > 100_000_000
        assert resident_bytes(gateway.pid) - before < 20_000_000


def test_a_clients_slowness_is_not_the_engines_silence(make_stack: Callable[..., Stack]) -> None:
    stack = hasty(make_stack(), gap_timeout_s=4).start()
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", stack.port))
        line.sendall(post(json.dumps(chat_body("smol", {"tokens": 1000, "padding": 100_000}, stream=True)).encode()))
        eventually(lambda: stack.engine.running == 1)
        time.sleep(5)  # longer than the gap timeout and a look of the watchdog
        assert stack.engine.running == 1


def test_a_client_that_never_reads_is_given_up(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_CLIENT_STALL_TIMEOUT_S="1").start()
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", stack.port))
        line.sendall(post(json.dumps(chat_body("smol", {"tokens": 1000, "padding": 100_000}, stream=True)).encode()))
        eventually(lambda: stack.engine.cancelled == 1)
    eventually(lambda: [r["outcome"] for r in stack.web.records] == ["client_gone"])


def hasty(stack: Stack, **limits: float) -> Stack:
    """An engine that is given up so soon, where the test is about that."""
    stack.web.snapshot["deployments"] = [stack.deployment(7, "smol", replicas=[stack.replica(11, 0)], **limits)]
    return stack


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
