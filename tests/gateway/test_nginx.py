"""The gateway behind a real nginx with the shipped file: what nginx takes for a request, the gateway does too."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.gateway.stack import ADA, Stack, chat_body, read_all
from tests.gateway.test_framing import AMBIGUOUS, GOOD, statuses
from tests.gateway.test_relay import frame
from tests.gateway.test_upgrades import LAST, SMUGGLED, asked, framed, upgraded
from tests.parts.front import Front, running_front
from webapp.foundation.body_limit import MAX_BODY_BYTES


@pytest.fixture(scope="module")
def front(shared_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    for parent in (folder, *folder.parents):
        # nginx's workers are nobody and keep bodies in it.
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    with running_front(folder, shared_stack.port) as running:
        yield running


def through(front: Front, data: bytes) -> bytes:
    with front.line() as line:
        line.sendall(data)
        return read_all(line)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("protocol", ["h2c", "websocket", "foo"])
@pytest.mark.parametrize("path", ["/page", "/ws/live/", "/api/v1/things"])
def test_a_body_behind_upgrade_is_nobodys_request(
    stack: Stack, front: Front, path: str, protocol: str, is_chunked: bool
) -> None:
    """nginx keeps its connections to the gateway for everybody: a body taken for a request would be answered to whoever
    asks next."""
    answer = through(front, framed(asked(path, protocol), SMUGGLED, is_chunked) + LAST)
    assert len(statuses(answer)) == 2
    assert [(page.target, page.body) for page in stack.web.pages] == [(path, SMUGGLED), ("/last", b"")]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_everybody_gets_their_own_answer_while_somebody_smuggles(
    stack: Stack, front: Front, protocol: str, is_chunked: bool
) -> None:
    """A person without a key sends requests in bodies while others ask over the same pool of connections."""
    hidden = json.dumps(chat_body("smol", {"tokens": 9})).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADA}\r\n"
    attack = framed(asked("/page", protocol), framed(head, hidden, False), is_chunked)
    wrong: list[object] = []

    def ask(tokens: int) -> None:
        connection = front.connect()
        for _ in range(15):
            body = json.dumps(chat_body("smol", {"tokens": tokens}))
            connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            if answer.status != 200 or found["usage"]["completion_tokens"] != tokens:
                wrong.append((answer.status, found))
        connection.close()

    people = [threading.Thread(target=ask, args=(tokens,)) for tokens in (1, 2, 3)]
    for person in people:
        person.start()
    with front.line() as line:
        for _ in range(15):
            line.sendall(attack)
        line.sendall(LAST)
        assert statuses(read_all(line)) == [200] * 16
    for person in people:
        person.join()
    assert wrong == []
    assert len(stack.engine.asked) == 45
    assert all(json.loads(one.body)["fake"]["tokens"] != 9 for one in stack.engine.asked)


@pytest.mark.parametrize("head", [head for head in AMBIGUOUS if "\r\nHost" in head])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/page"])
@pytest.mark.parametrize("protocol", ["", "h2c"])
def test_no_framing_is_read_in_two_ways(stack: Stack, front: Front, head: str, path: str, protocol: str) -> None:
    """nginx may refuse, mend or pass on; never may what hides behind one request arrive as another."""
    sent = (upgraded(head, protocol) if protocol else head).format(path=path).encode("latin-1")
    through(front, sent + SMUGGLED + LAST)
    heads = (sent + SMUGGLED + LAST).count(b"HTTP/1.1\r\n")
    assert len(stack.web.pages) + len(stack.engine.asked) <= heads
    assert all(page.body == b"" or SMUGGLED not in page.body for page in stack.web.pages)


def test_inference_with_upgrade_works_through_nginx(stack: Stack, front: Front) -> None:
    head = asked("/v1/chat/completions", "h2c", extra=f"Authorization: Bearer {ADA}\r\nHTTP2-Settings: AAMAAABk\r\n")
    assert statuses(through(front, framed(head, GOOD, False) + LAST)) == [200, 200]
    assert [one.body for one in stack.engine.asked] == [GOOD]


def test_a_socket_opens_through_nginx(stack: Stack, front: Front) -> None:
    head = asked("/ws/live/", "WebSocket", method="GET")
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with front.line() as line:
        line.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += line.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        line.sendall(frame(b"hello"))
        assert line.recv(2) + line.recv(5) == b"\x81\x05hello"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_nginx_refuses_a_body_that_is_too_large_for_a_page(stack: Stack, front: Front, is_chunked: bool) -> None:
    answer = through(front, framed("POST /page HTTP/1.1\r\nHost: a\r\n", b"x" * (MAX_BODY_BYTES + 1), is_chunked))
    assert statuses(answer) == [413]
    assert b"Send 5 MiB at most." in answer
    assert stack.web.pages == []


@pytest.mark.parametrize("path", ["/v1", "/d/research/smol/v1", "/d/research/meta-llama%2FLlama-3.1-8B/v1"])
def test_inference_may_be_larger_than_a_page(stack: Stack, front: Front, path: str) -> None:
    """The gateway of these tests takes 1 MiB and says so in words, whatever nginx would say."""
    head = f"POST {path}/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADA}\r\nConnection: close\r\n"
    answer = through(front, framed(head, b"x" * (MAX_BODY_BYTES + 1), False))
    assert statuses(answer) == [413]
    assert b"MODELYARD_MAX_BODY_BYTES" in answer


def test_nginx_is_really_in_between(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port), timeout=60) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"nginx" in read_all(line)
