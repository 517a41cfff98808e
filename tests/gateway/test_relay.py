"""Everything that is not inference goes to web and back unchanged, except for what web must be able to believe."""

import hashlib
import json
import os
import socket
import struct
from collections.abc import Callable

import pytest

from tests.gateway.stack import Stack, eventually, read_all
from webapp.foundation.body_limit import MAX_BODY_BYTES


def test_a_page_is_relayed_with_our_word_on_who_asks(stack: Stack) -> None:
    forged = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil",
        "Forwarded": "for=6",
    }
    forged |= {"X_Real_IP": "6.6.6.6", "X_Modelyard_Internal": "guess", "Cookie": "a=1", "Te": "trailers"}
    connection = stack.connect()
    connection.putrequest("GET", "/some/page?x=%2f", skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", "yard.example:1234")
    for name, value in forged.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.putheader("X_Forwarded_For", "7.7.7.7")
    connection.putheader("X-Named", "1")
    connection.putheader("Connection", "keep-alive, X-Named")
    connection.endheaders()
    answer = connection.getresponse()
    seen = json.loads(answer.read())
    assert seen["target"] == "/some/page?x=%2f"
    assert sorted((name.lower(), value) for name, value in seen["headers"]) == [
        ("cookie", "a=1"),
        ("host", "yard.example:1234"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "yard.example:1234"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", answer.headers["x-request-id"]),
    ]
    connection.close()


def test_an_https_address_is_believed_about_the_terminator_in_front(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_URL="https://yard.example").start()
    seen = dict(stack.ask("GET", "/page").json()["headers"])
    assert seen["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_is_relayed(stack: Stack, method: str) -> None:
    assert stack.ask(method, "/api/v1/things", {"a": 1}).json()["method"] == method


def test_head_is_answered_without_a_body_and_the_connection_goes_on(stack: Stack) -> None:
    line = stack.connect()
    for _ in range(3):
        line.request("HEAD", "/page")
        response = line.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert int(response.headers["content-length"]) > 0
    line.close()


def test_answers_without_a_body_and_repeated_headers_come_through(stack: Stack) -> None:
    assert stack.ask("GET", "/nothing").status == 204
    moved = stack.ask("GET", "/moved")
    assert (moved.status, moved.headers["location"]) == (302, "/elsewhere")
    assert moved.headers.get_all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_streams_through(stack: Stack, chunked: bool) -> None:
    """As large as one may be, and larger than what the gateway holds for a slow web."""
    data = os.urandom(MAX_BODY_BYTES)
    connection = stack.connect()
    body = (data[i : i + 50_000] for i in range(0, len(data), 50_000)) if chunked else data
    headers = {} if chunked else {"Content-Length": str(len(data))}
    connection.request("POST", "/upload", body, headers, encode_chunked=chunked)
    seen = json.loads(connection.getresponse().read())
    assert (seen["size"], seen["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    connection.close()


def test_an_upload_may_wait_for_100_continue(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.sendall(
            b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b"abc")
        assert b'"size": 3' in read_all(line)


def test_a_large_download_streams_through(stack: Stack) -> None:
    size = 40 * (1 << 20)
    answer = stack.ask("GET", f"/download?{size}")
    assert answer.body == bytes(range(256)) * (size // 256)


def test_a_download_that_is_given_up_stops_web(stack: Stack) -> None:
    gone = stack.web.gone
    with socket.create_connection(("127.0.0.1", stack.port)) as line:
        line.sendall(b"GET /download?1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(line.recv(1000)) > 0
    eventually(lambda: stack.web.gone == gone + 1)


def test_an_answer_that_web_breaks_off_is_broken_for_the_client_too(stack: Stack) -> None:
    answer = stack.raw(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"content-length: 100" in answer
    assert answer.endswith(b"only this")


def websocket(stack: Stack, extra: str = "") -> tuple[socket.socket, bytes]:
    """An open WebSocket and the head of the answer (RFC 6455's own example key)."""
    line = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
    head = "GET /ws/live/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
    head += "Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
    line.sendall(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += line.recv(1)
    return line, answer


def frame(payload: bytes, kind: int = 1) -> bytes:
    length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
    mask = b"abcd"
    return struct.pack("!B", 0x80 | kind) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def test_a_websocket_is_carried_both_ways(stack: Stack) -> None:
    line, head = websocket(stack)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    for payload in (b"hello", b"x" * 60_000):
        line.sendall(frame(payload))
        answer = b""
        while len(answer) < len(payload) + 2:
            answer += line.recv(65536)
        assert answer.endswith(payload)
    line.sendall(frame(b"", 8))
    assert read_all(line) == b"\x88\x00"
    line.close()


def test_a_websocket_ends_on_both_sides(stack: Stack) -> None:
    gone = stack.web.gone
    line, _ = websocket(stack)
    line.close()
    eventually(lambda: stack.web.gone == gone + 1)


def test_a_refused_websocket_gets_webs_answer(stack: Stack) -> None:
    line, head = websocket(stack, "Origin: http://refused.example\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert read_all(line) == b"not from there"
    line.close()


def test_while_web_is_down_people_and_programs_are_told(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start(with_web=False)
    page = stack.ask("GET", "/", Accept="text/html")
    assert (page.status, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert int(page.headers["retry-after"]) > 0
    assert page.request_id in page.body.decode()
    answer = stack.ask("POST", "/api/v1/things", {"a": 1})
    assert (answer.status, answer.error["code"]) == (503, "web_unavailable")
    stack.web.start()
    assert stack.ask("GET", "/page").status == 200


def test_web_may_restart_between_two_requests(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    line = stack.connect()
    line.request("GET", "/page")
    assert line.getresponse().read()
    stack.web.stop()
    stack.web.start()
    line.request("GET", "/page")
    assert line.getresponse().read()
    line.close()
