"""HTTP as bytes: what is ambiguous is refused, what is unusual works, and requests never get mixed up."""

import json
import re
import socket
import time
from collections.abc import Callable

import pytest

from tests.gateway.freezing import frozen
from tests.gateway.stack import ADA, Stack, announced, chat_body, eventually, post, read_all

GOOD = json.dumps(chat_body("smol", {"tokens": 1})).encode()

# What two readers could take for different requests.
AMBIGUOUS = [
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nabcd",
    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost : a\r\nContent-Length: 0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "POST {path} HTTP/1.1\nHost: a\n\n",
    "POST {path} HTTP/3.7\r\nHost: a\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "POST {path} RTSP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "DESCRIBE {path} RTSP/1.0\r\nHost: a\r\n\r\n",
    "SOURCE {path} ICE/1.0\r\nHost: a\r\n\r\n",
    "POST {path}  HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "GET http://me@elsewhere/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a,b/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http:///v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://:80/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://elsewhere/v1/models HTTP/1.1\r\n\r\n",
    "GET ftp://elsewhere/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.mark.parametrize("head", AMBIGUOUS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/page"])
def test_ambiguous_framing_is_a_400_and_the_end_of_the_connection(stack: Stack, head: str, path: str) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = stack.raw(head.format(path=path).encode("latin-1") + smuggled)
    assert statuses(answer) == [400]
    assert stack.web.pages == []
    assert stack.engine.asked == []


@pytest.mark.parametrize(
    "bad", [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX\r\n0\r\n\r\n", b"-1\r\n\r\n", b"5\nhello\n0\n\n"]
)
def test_a_bad_chunk_is_a_400_and_reaches_no_engine(stack: Stack, bad: bytes) -> None:
    head = announced("Transfer-Encoding: chunked")
    assert statuses(stack.raw(head + bad)) == [400]
    assert stack.engine.asked == []


@pytest.mark.parametrize("host", ["a, b", "a b", "a,b", "a/b", "me@a", "a:b", "[::1", "a?x", "\xe4"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/page"])
def test_a_host_that_is_not_one_name_or_address_is_a_400(stack: Stack, path: str, host: str) -> None:
    answer = stack.raw(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    assert statuses(answer) == [400]
    assert stack.web.pages == []


@pytest.mark.parametrize("host", ["a", "yard.example:8000", "10.0.0.1", "[::1]:8000", "my_service", ""])
def test_every_usual_host_is_passed_on(stack: Stack, host: str) -> None:
    sent = f"GET /page HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert statuses(stack.raw(sent.encode())) == [200]
    assert [page.header("host") for page in stack.web.pages] == [host]


@pytest.mark.parametrize("version", ["2.0", "0.9"])
def test_a_version_that_is_not_spoken_is_a_505(stack: Stack, version: str) -> None:
    assert statuses(stack.raw(f"GET /page HTTP/{version}\r\nHost: a\r\n\r\n".encode())) == [505]
    assert stack.web.pages == []


@pytest.mark.parametrize("size", [1, 11, 12, 13, 15, 17])
@pytest.mark.parametrize("protocol", ["RTSP/1.1", "ICE/1.0"])
def test_another_protocol_is_a_400_however_it_is_cut_into_reads(stack: Stack, protocol: str, size: int) -> None:
    method = "GET" if protocol.startswith("RTSP") else "SOURCE"
    sent = f"{method} /page {protocol}\r\nHost: a\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), size):
            line.sendall(sent[at : at + size])
        assert statuses(read_all(line)) == [400]
    assert stack.web.pages == []


def test_another_protocol_behind_a_good_request_is_a_400(stack: Stack) -> None:
    answer = stack.raw(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\nGET /page RTSP/1.1\r\nHost: a\r\n\r\n")
    assert statuses(answer) == [200, 400]
    assert [page.target for page in stack.web.pages] == ["/page"]


@pytest.mark.parametrize("offer", ["", "Connection: upgrade\r\nUpgrade: h2c\r\n"])
@pytest.mark.parametrize(
    ("target", "host", "arrived"),
    [
        ("http://yard.example:8000/page?x=1", "yard.example:8000", "/page?x=1"),
        ("HTTPS://yard.example/page", "yard.example", "/page"),
        ("http://[::1]:8000", "[::1]:8000", "/"),
        ("http://yard.example?x=1", "yard.example", "/?x=1"),
    ],
)
def test_a_target_in_absolute_form_is_served_and_its_host_counts(
    stack: Stack, target: str, host: str, arrived: str, offer: str
) -> None:
    sent = f"GET {target} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n{offer}\r\n"
    assert statuses(stack.raw(sent.encode())) == [200]
    assert [(page.target, page.header("host")) for page in stack.web.pages] == [(arrived, host)]


def test_connect_is_refused(stack: Stack) -> None:
    assert statuses(stack.raw(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n")) == [405]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"X: " + b"a" * 40_000, 431),
        (b"\r\n".join(b"X%d: 1" % n for n in range(150)), 431),
    ],
)
def test_large_header_sections_are_refused(stack: Stack, head: bytes, status: int) -> None:
    answer = stack.raw(b"GET /page HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
    assert statuses(answer) == [status]
    assert stack.web.pages == []


def test_a_large_header_section_is_refused_however_it_is_cut_into_reads(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000)
        time.sleep(0.05)  # so that the gateway reads this much first
        line.sendall(b"a" * 20_000 + b"\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 431 ")
    assert stack.web.pages == []


def test_a_header_section_that_never_ends_is_refused(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\nX: ")
        try:
            for _ in range(100):
                line.sendall(b"a" * 1000)
                time.sleep(0.001)
        except ConnectionError:
            pass
        assert statuses(read_all(line)) == [431]


def test_a_long_target_is_refused(stack: Stack) -> None:
    assert statuses(stack.raw(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")) == [414]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_pipelined_requests_are_all_answered_in_order_however_they_are_cut(stack: Stack, size: int) -> None:
    bodies = [json.dumps(chat_body("smol", {"tokens": n})).encode() for n in (1, 2, 3)]
    sent = post(bodies[0]) + b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" + post(bodies[1])
    sent += b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n" + post(bodies[2], extra="Connection: close\r\n")
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), size):
            line.send(sent[at : at + size])
        answer = read_all(line)
    assert statuses(answer) == [200, 401, 200, 200, 200]
    assert [int(n) for n in re.findall(rb'"completion_tokens":\s*(\d)', answer)] == [1, 2, 3]


def test_a_pipelined_stream_ends_before_the_next_answer_begins(stack: Stack) -> None:
    stream = json.dumps(chat_body("smol", {"tokens": 3, "delay": 0.02}, stream=True)).encode()
    answer = stack.raw(post(stream) + post(GOOD, extra="Connection: close\r\n"))
    assert statuses(answer) == [200, 200]
    assert answer.index(b"[DONE]") < answer.index(b"0\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize("size", [1 << 20, 997])
def test_a_flood_of_pipelined_requests_costs_none_before_it_its_answer(stack: Stack, size: int) -> None:
    """A hundred wait; the next one is told that it was one too many, and ends the connection."""
    slow = json.dumps(chat_body("smol", {"tokens": 2, "holds": True}, stream=True)).encode()
    flood = post(slow) + b"".join(b"GET /page?%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5000))
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(flood), size):
            line.sendall(flood[at : at + size])
        stack.engine.go_on(2)
        assert statuses(read_all(line)) == [200] * 101 + [429]
    assert [page.target for page in stack.web.pages] == [f"/page?{number}" for number in range(100)]


def test_expect_100_continue_is_answered_before_the_body(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        head, _, body = post(GOOD, extra="Expect: 100-continue\r\nConnection: close\r\n").partition(b"\r\n\r\n")
        line.sendall(head + b"\r\n\r\n")
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(body)
        assert statuses(read_all(line)) == [200]


def test_expect_100_continue_is_not_answered_when_the_body_is_not_wanted(stack: Stack) -> None:
    head, _, _ = post(b"x" * 2_000_000, extra="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    assert statuses(stack.raw(head + b"\r\n\r\n")) == [413]


def test_a_chunked_request_works_like_any_other(stack: Stack) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADA}\r\nConnection: close\r\n"
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(GOOD[i : i + 9]), GOOD[i : i + 9]) for i in range(0, len(GOOD), 9))
    answer = stack.raw(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Trailer: 1\r\n\r\n")
    assert statuses(answer) == [200]
    assert stack.engine.asked[-1].body == GOOD
    assert stack.engine.asked[-1].header("content-length") == str(len(GOOD))


def test_trailers_without_end_are_cut_off(stack: Stack) -> None:
    head = announced("Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.sendall(head + b"2\r\n{}\r\n0\r\nX: ")
        with pytest.raises(ConnectionError):
            for _ in range(1_000_000):
                line.sendall(b"a" * 1000)
                time.sleep(0.0005)


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(stack: Stack) -> None:
    body = json.dumps(chat_body("smol", {"tokens": 3}, stream=True)).encode()
    sent = post(body).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    head, _, rest = stack.raw(sent).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head
    assert rest.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")


def test_slow_headers_are_given_up(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_HEADER_TIMEOUT_S="0.5").start()
    with frozen(stack.processes[-1]):  # it meets the connection with what was sent on it
        line = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
        line.sendall(b"GET /page HTTP/1.1\r\nHo")
    with line:
        assert statuses(read_all(line)) == [408]
    silent = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
    assert read_all(silent) == b""
    silent.close()


def test_too_many_connections_are_told_so(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_MAX_CONNECTIONS="3", MODELYARD_HEADER_TIMEOUT_S="3600").start()
    eventually(lambda: stack.metric("connections") == 0)
    held = [socket.create_connection(("127.0.0.1", stack.port)) for _ in range(3)]
    eventually(lambda: stack.metric("connections") == 3)
    assert statuses(stack.raw(b"")) == [503]
    for line in held:
        line.close()
    eventually(lambda: stack.metric("connections") == 0)
    assert stack.chat().status == 200
