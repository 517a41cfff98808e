"""One framing, three readers: what the gateway takes for requests, h11 does, too, alone and behind nginx."""

import hashlib
import json
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.stack import Stack
from tests.gateway.streams import Stream, second_opinion, send, streams
from tests.gateway.test_nginx import front
from tests.parts.front import Front

__all__ = ["front"]

# Streams that run beside each other, so that an answer has somebody else to go to.
BESIDE = 4
SHORT, LONG = 2_000, 100_000
# What nginx may make of something ambiguous, and what is sent behind it: the client's own requests.
MENDED = ("/page", "/behind")
batches = st.lists(streams(), min_size=BESIDE, max_size=BESIDE)
quietly = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_the_gateway_reads_what_h11_reads(shared_stack: Stack, count: int) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", shared_stack.port), timeout=60)

    run(shared_stack, connect, count, is_alone=True)


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_nginx_and_the_gateway_read_the_same(shared_stack: Stack, front: Front, count: int) -> None:
    run(shared_stack, front.line, count, is_alone=False)


def run(stack: Stack, connect: Callable[[], socket.socket], count: int, *, is_alone: bool) -> None:
    # All that was ever sent: who closed a half was let go, and web may hear of such a request a batch later.
    sent: set[tuple[str, str, bytes]] = set()
    with ThreadPoolExecutor(BESIDE) as people:

        @settings(quietly, max_examples=int(os.environ.get("MODELYARD_TEST_STREAMS", count)) // BESIDE)
        @given(batches)
        def check(batch: list[Stream]) -> None:
            stack.web.pages.clear()
            stack.engine.asked.clear()
            found = list(people.map(lambda stream: ask(connect, stream), batch))
            for stream, answers in zip(batch, found, strict=True):
                judge(stream, answers, is_alone)
            sent.update(one for stream in batch for one in stream.expected)
            judge_arrived(stack, sent, *(() if is_alone else MENDED))

        check()


def ask(connect: Callable[[], socket.socket], stream: Stream) -> list[tuple[int, Any]]:
    with connect() as line:
        return send(line, stream)


def judge(stream: Stream, answers: list[tuple[int, Any]], is_alone: bool) -> None:
    """Each valid request got its own answer, in order, and nothing else did."""
    opinion, refused = second_opinion(stream.data)
    expected = stream.expected
    # h11 forgives some of what is refused here; what it takes for requests up to there must be the same.
    assert opinion[: len(expected)] == expected
    assert stream.is_broken or (len(opinion) == len(expected) and not refused)
    good = answers[: len(expected)]
    for (method, target, body), (status, answer) in zip(expected, good, strict=False):
        assert status == 200, (status, answer)
        said = json.loads(answer)
        if target == "/v1/chat/completions":
            assert said["usage"]["completion_tokens"] == json.loads(body)["fake"]["tokens"]
        else:
            assert (said["method"], said["target"]) == (method, target)
            assert said["sha256"] == hashlib.sha256(body).hexdigest()
    more = [status for status, _ in answers[len(expected) :]]
    if stream.half_closes and is_alone:
        return  # who closes a half is taken for gone: the answers may end early, and only end
    assert len(good) == len(expected), (len(good), len(expected))
    if not stream.is_broken:
        assert more == []
    elif is_alone:
        assert more == [400], more
    else:
        # nginx may refuse, mend or pass on what is ambiguous; what hid behind it is a request of this client's at most.
        assert set(more) <= {200, 400, 401, 501, 505}


def judge_arrived(stack: Stack, sent: set[tuple[str, str, bytes]], *mended: str) -> None:
    """Web and engine saw requests of these and no others, but for `mended`: what nginx makes of ambiguous ones."""
    for page in list(stack.web.pages):
        assert (page.method, page.target, page.body) in sent or page.target in mended, (page.method, page.target)
        assert page.header("upgrade") is None
    for asked in list(stack.engine.asked):
        assert ("POST", "/v1/chat/completions", asked.body) in sent, asked.body


def test_the_judges_find_a_lost_a_doubled_and_a_swapped_answer() -> None:
    body = b"x"
    one = Stream(
        data=b"POST /page?1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
        expected=[("POST", "/page?1", body)],
    )
    said = {"method": "POST", "target": "/page?1", "sha256": hashlib.sha256(body).hexdigest()}
    right = (200, json.dumps(said).encode())
    judge(one, [right], True)
    swapped = (200, json.dumps({**said, "target": "/page?2"}).encode())
    for wrong in ([], [right, right], [swapped], [(400, b"{}")]):
        with pytest.raises(AssertionError):
            judge(one, wrong, True)


def test_tls_is_what_nginx_speaks(front: Front) -> None:
    with front.line() as line:
        assert isinstance(line, ssl.SSLSocket)
