"""RFC 9110, 7.8: a server may ignore Upgrade, and the body still belongs to its request. Only sockets are taken up."""

import json
import socket

import pytest

from tests.gateway.stack import ADA, Stack, post, read_all
from tests.gateway.test_framing import AMBIGUOUS, GOOD, statuses

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PROTOCOLS = ["h2c", "websocket", "WebSocket", "HTTP/2.0", "TLS/1.0", "foo, websocket", "websocket, h2c"]
PATHS = ["/v1/chat/completions", "/page", "/ws/live/"]


def upgraded(head: str, protocol: str) -> str:
    """The request with an offer of `protocol` as its first headers."""
    line, _, rest = head.partition("\r\n")
    return f"{line}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n{rest}"


def framed(head: str, body: bytes, is_chunked: bool) -> bytes:
    if not is_chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    middle = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:middle], body[middle:]))
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


def asked(path: str, protocol: str, *, method: str = "POST", extra: str = "") -> str:
    return upgraded(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{extra}", protocol)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("protocol", ["h2c", "websocket", "foo"])
@pytest.mark.parametrize("head", [head for head in AMBIGUOUS if "\r\nHost" in head])
def test_ambiguous_framing_is_a_400_with_upgrade_too(stack: Stack, head: str, protocol: str, path: str) -> None:
    answer = stack.raw(upgraded(head, protocol).format(path=path).encode("latin-1") + SMUGGLED)
    assert statuses(answer) == [400]
    assert stack.web.pages == []
    assert stack.engine.asked == []


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", ["/page", "/ws/live/", "/accounts/login/"])
def test_the_body_of_a_request_with_upgrade_is_not_the_next_request(
    stack: Stack, path: str, protocol: str, is_chunked: bool
) -> None:
    answer = stack.raw(framed(asked(path, protocol), SMUGGLED, is_chunked) + LAST)
    assert len(statuses(answer)) == 2
    assert [(page.target, page.body) for page in stack.web.pages] == [(path, SMUGGLED), ("/last", b"")]
    assert stack.web.pages[0].header("upgrade") is None
    assert stack.web.pages[0].header("connection") is None


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_inference_with_upgrade_is_inference_however_it_is_cut(
    stack: Stack, protocol: str, is_chunked: bool, size: int
) -> None:
    """Java's HttpClient and `curl --http2` offer h2c with every POST in clear text."""
    head = asked("/v1/chat/completions", protocol, extra=f"Authorization: Bearer {ADA}\r\nHTTP2-Settings: AAMAAABk\r\n")
    sent = framed(head, GOOD, is_chunked) + LAST
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), size):
            line.send(sent[at : at + size])
        answer = read_all(line)
    assert statuses(answer) == [200, 200]
    assert [engine.body for engine in stack.engine.asked] == [GOOD]
    assert stack.engine.asked[0].header("upgrade") is None


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_refused_request_with_upgrade_keeps_its_body_to_itself(stack: Stack, is_chunked: bool) -> None:
    """The smuggling needed no key: what was refused was answered twice."""
    answer = stack.raw(framed(asked("/v1/chat/completions", "h2c"), SMUGGLED, is_chunked) + LAST)
    assert statuses(answer)[0] == 401
    assert len(statuses(answer)) <= 2  # a chunked body that nobody wants ends the connection
    assert all(page.target == "/last" for page in stack.web.pages)


def test_a_body_behind_upgrade_may_wait_for_100_continue(stack: Stack) -> None:
    extra = f"Authorization: Bearer {ADA}\r\nExpect: 100-continue\r\nConnection: close\r\n"
    head, _, body = framed(asked("/v1/chat/completions", "h2c", extra=extra), GOOD, False).partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(head + b"\r\n\r\n")
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(body)
        assert statuses(read_all(line)) == [200]


def test_a_long_pipeline_of_requests_with_upgrade_is_answered_in_order(stack: Stack) -> None:
    targets = [f"/page?{number}" for number in range(90)]
    sent = b"".join(framed(asked(target, "h2c"), SMUGGLED, number % 2 == 0) for number, target in enumerate(targets))
    assert statuses(stack.raw(sent + LAST)) == [200] * 91
    assert [page.target for page in stack.web.pages] == [*targets, "/last"]


def test_a_flood_of_requests_with_upgrade_is_no_deep_recursion(stack: Stack) -> None:
    slow = json.dumps(chat_body_that_hangs(0.3)).encode()
    answer = stack.raw(post(slow) + framed(asked("/page", "h2c"), b"", False) * 3000)
    assert statuses(answer) == [200] * 101 + [429]
    assert "RecursionError" not in stack.log()
    assert stack.chat().status == 200


def chat_body_that_hangs(seconds: float) -> dict[str, object]:
    return {"model": "smol", "messages": [{"role": "user", "content": "hello"}], "fake": {"hang": seconds}}


@pytest.mark.parametrize(
    "head",
    [
        # Without the word in Connection nothing is offered (RFC 9110, 7.8).
        "GET /ws/live/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws/live/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws/live/ HTTP/1.1\r\nHost: a\r\nConnection: upgrades\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws/live/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websockets\r\n\r\n",
        "GET /page HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /%77s/live/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "DELETE /ws/live/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_what_is_not_a_sockets_opening_is_a_request_like_any_other(stack: Stack, head: str) -> None:
    answer = stack.raw(head.encode() + LAST)
    assert len(statuses(answer)) == 2
    assert 101 not in statuses(answer)
    assert [page.header("upgrade") for page in stack.web.pages] == [None, None]
    assert stack.web.pages[1].target == "/last"


@pytest.mark.parametrize("path", ["/page", "/ws/live/"])
def test_http_1_0_knows_no_upgrade(stack: Stack, path: str) -> None:
    sent = asked(path, "websocket", method="GET").replace("HTTP/1.1", "HTTP/1.0")
    answer = stack.raw(sent.encode() + b"\r\n" + SMUGGLED)
    assert 101 not in statuses(answer)
    assert len(statuses(answer)) == 1


def test_a_connection_header_in_two_lines_counts_as_one(stack: Stack) -> None:
    head = (
        "GET /ws/live/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n"
    )
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(head.encode())
        assert line.recv(100).startswith(b"HTTP/1.1 101 ")


def test_connect_behind_another_request_ends_the_connection(stack: Stack) -> None:
    connect = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"
    answer = stack.raw(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n" + connect + SMUGGLED)
    assert statuses(answer) == [200, 405]
    assert [page.target for page in stack.web.pages] == ["/page"]


def test_a_protocol_that_web_changes_unasked_is_a_failure(stack: Stack) -> None:
    answer = stack.raw(b"GET /switches HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert statuses(answer) == [502]
    assert b"frames" not in answer


def test_a_protocol_that_an_engine_changes_unasked_is_a_failure(stack: Stack) -> None:
    raw = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nframes"
    answer = stack.chat(fake={"raw": raw})
    assert answer.status == 502
    assert b"frames" not in answer.body
