"""Compressed bodies: gzip is read within the limits, anything else is refused in words."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from tests.gateway.stack import ADA, Stack, chat_body, eventually
from webapp.gateway.http import content_coding
from webapp.gateway.http.errors import Problem

PLAIN = json.dumps(chat_body("smol", {"tokens": 2})).encode()
CHAT = "/v1/chat/completions"


def packed(plain: bytes) -> bytes:
    """The same bytes each time: by itself gzip writes down when it was."""
    return gzip.compress(plain, mtime=0)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity", ""])
def test_a_body_reaches_the_engine_as_it_was_before_it_was_packed(stack: Stack, coding: str) -> None:
    body = packed(PLAIN) if "gzip" in coding.lower() else PLAIN
    answer = stack.ask("POST", CHAT, body, Content_Encoding=coding)
    assert (answer.status, answer.json()["usage"]["completion_tokens"]) == (200, 2)
    assert stack.engine.asked[-1].body == PLAIN
    assert stack.engine.asked[-1].header("content-encoding") is None


@pytest.mark.parametrize("coding", ["zstd", "br", "deflate", "gzip, gzip", "identity, gzip", "compress", "x" * 500])
def test_another_coding_is_a_415_that_names_what_is_accepted(stack: Stack, coding: str) -> None:
    answer = stack.ask("POST", CHAT, PLAIN, Content_Encoding=coding)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_encoding")
    assert "Content-Encoding" in answer.error["message"]
    assert answer.headers["accept-encoding"] == "gzip"
    assert stack.engine.asked == []


def test_two_lines_of_content_encoding_are_two_codings(stack: Stack) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {ADA}\r\n"
    head += f"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: {len(PLAIN)}\r\n\r\n"
    assert stack.raw(head.encode() + PLAIN).startswith(b"HTTP/1.1 415 ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (PLAIN, "it is not gzip"),
        (b"", "its end is missing"),
        (packed(PLAIN)[:-3], "its end is missing"),
        (packed(PLAIN)[:-8] + bytes(8), "it is not gzip"),
        (packed(PLAIN) + b"x", "something follows"),
        (packed(PLAIN) * 2, "something follows"),
        (zlib.compress(PLAIN), "it is not gzip"),
    ],
)
def test_what_is_not_gzip_is_said(stack: Stack, body: bytes, words: str) -> None:
    answer = stack.ask("POST", CHAT, body, Content_Encoding="gzip")
    assert (answer.status, answer.error["code"]) == (400, "invalid_content_encoding")
    assert words in answer.error["message"]


def test_the_limit_counts_what_comes_out(stack: Stack) -> None:
    """100 kB that would become 100 MB: 1 MiB is accepted here, and not much more is ever unpacked."""
    answer = stack.ask("POST", CHAT, gzip.compress(b" " * 100_000_000), Content_Encoding="gzip")
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert stack.metric("buffered_request_bytes") == 0


def test_a_bomb_is_unpacked_no_further_than_its_limit() -> None:
    decoder = content_coding.Decoder(gzip.compress(bytes(50 * content_coding.STEP_BYTES)))
    for steps in range(1, 4):
        decoder.step()
        assert decoder.size <= steps * content_coding.STEP_BYTES


@pytest.mark.parametrize("level", [0, 9])
def test_a_body_of_many_steps_comes_out_whole(level: int) -> None:
    body = bytes(range(256)) * 20_000
    decoder = content_coding.Decoder(zlib.compress(body, level, 31))
    while not decoder.is_done:
        decoder.step()
    assert decoder.body() == body
    with pytest.raises(Problem):
        content_coding.check(b"zstd")


def test_a_client_that_leaves_while_its_body_is_unpacked_leaves_nothing(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    packed = gzip.compress(b" " * 60_000_000)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADA}\r\nContent-Encoding: gzip\r\n"
    connection = stack.connect()
    connection.connect()
    connection.sock.sendall(f"{head}Content-Length: {len(packed)}\r\n\r\n".encode() + packed)
    connection.close()
    eventually(lambda: stack.metric("connections") == 0)
    eventually(lambda: stack.metric("buffered_request_bytes") == 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xef\xbb\xbf" + PLAIN, "byte order mark (BOM)"),
        (PLAIN.decode().encode("utf-16"), "UTF-16"),
        (PLAIN.decode().encode("utf-32"), "UTF-32"),
        (packed(PLAIN), "no Content-Encoding header says so"),
        (b"\x28\xb5\x2f\xfd rest", "zstd"),
        (b"", "The body is empty"),
    ],
)
def test_a_body_that_begins_wrongly_is_told_what_it_is(stack: Stack, body: bytes, words: str) -> None:
    answer = stack.ask("POST", CHAT, body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    assert words in answer.error["message"]


@pytest.mark.parametrize("path", ["/api/v1/deployments", "/page"])
def test_web_takes_no_compressed_body_and_says_so(stack: Stack, path: str) -> None:
    answer = stack.ask("POST", path, packed(b"{}"), Content_Encoding="gzip")
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
    assert "Content-Encoding" in answer.json()["title"]
    assert stack.web.pages == []
