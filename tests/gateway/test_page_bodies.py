"""Bodies that are not for inference end at 5 MiB, by what is announced and by what comes, before anybody keeps them."""

import json
import socket
from collections.abc import Callable

import pytest

from tests.gateway.stack import Stack, eventually, read_all
from tests.gateway.test_framing import statuses
from tests.gateway.test_upgrades import asked, framed
from webapp.foundation.body_limit import MAX_BODY_BYTES

PATHS = ["/page", "/accounts/login/", "/api/v1/deployments", "/v2x/anything", "/ws/live/"]


def post(path: str, extra: str = "") -> str:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{extra}"


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(stack: Stack, path: str) -> None:
    answer = stack.raw(f"{post(path)}Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
    assert statuses(answer) == [413]
    assert b"connection: close" in answer
    assert stack.web.pages == []


@pytest.mark.parametrize("head", [post("/page"), asked("/page", "h2c")])
@pytest.mark.parametrize("path", PATHS)
def test_a_chunked_body_is_counted_while_it_comes(stack: Stack, path: str, head: str) -> None:
    head = head.replace("/page", path)
    refused = stack.raw(framed(head, b"x" * (MAX_BODY_BYTES + 1), True))
    assert statuses(refused) == [413]
    assert stack.web.pages == []


def test_a_body_without_end_is_cut_off(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(f"{post('/accounts/login/')}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with pytest.raises(ConnectionError):
            while True:
                line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
                assert sent < 400 * 1024 * 1024
    eventually(lambda: stack.metric("connections") == 0)
    assert stack.web.pages == []


def test_100_continue_is_not_said_to_a_body_that_is_refused(stack: Stack) -> None:
    head = f"{post('/page', 'Expect: 100-continue')}\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    assert statuses(stack.raw(head.encode())) == [413]


def test_programs_get_a_problem_document_and_browsers_a_page(stack: Stack) -> None:
    data = b"x" * (MAX_BODY_BYTES + 1)
    answer = stack.ask("POST", "/api/v1/deployments", data, None)
    assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json() == {
        "type": "about:blank",
        "title": "The request is too large.",
        "status": 413,
        "detail": "Send 5 MiB at most.",
        "request_id": answer.request_id,
    }
    page = stack.ask("POST", "/page", data, None, Accept="text/html")
    assert (page.status, page.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert "Send 5 MiB at most." in page.body.decode()


def test_an_answer_before_the_whole_body_leaves_nothing_for_the_next_request(stack: Stack) -> None:
    """Web answers early and the client sends the rest: nobody else's request may be read as the end of that body."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(f"{post('/early')}Content-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\n".encode())
        assert line.recv(200).startswith(b"HTTP/1.1 403 ")
        for _ in range(5):
            assert stack.ask("GET", "/page").status == 200
        line.sendall(b"Host: a\r\n\r\n     ")
        read_all(line)
    assert {page.target for page in stack.web.pages} == {"/early", "/page"}


def test_many_bodies_at_once_are_limited_together(make_stack: Callable[..., Stack]) -> None:
    """What one gateway process has web hold for everybody; small forms are let in all the same."""
    stack = make_stack().start()
    head = f"{post('/page')}Content-Length: {MAX_BODY_BYTES}\r\n\r\n".encode()
    held = [socket.create_connection(("127.0.0.1", stack.port), timeout=60) for _ in range(32)]
    for line in held:
        line.sendall(head + b"x")
    eventually(lambda: stack.metric("relayed_requests_total") >= 32)
    # What is only announced shuts nobody out.
    assert stack.ask("POST", "/page", b"x" * 100_000, None).status == 200
    for line in held:
        line.sendall(b"x" * (MAX_BODY_BYTES - 2))
    eventually(lambda: stack.metric("page_body_bytes") >= 32 * (MAX_BODY_BYTES - 1))
    busy = stack.ask("POST", "/api/v1/deployments", b"x" * 100_000, None)
    assert busy.status == 503
    assert int(busy.headers["retry-after"]) > 0
    assert busy.json()["detail"] == "Retry in a few seconds."
    assert stack.ask("POST", "/accounts/login/", b"x" * 1000, None).status == 200
    for line in held:
        line.close()
    eventually(lambda: stack.metric("connections") == 0)
    seen = stack.ask("POST", "/page", b"x" * 100_000, None)
    assert json.loads(seen.body)["size"] == 100_000
