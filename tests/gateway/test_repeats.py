"""Heads and events that come again take a short way, on which nothing may be different."""

import asyncio
import json
import random
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.gateway.stack import ADA, EVE, Stack, chat_body, post
from webapp.foundation.reach import Address
from webapp.gateway.http import chunks
from webapp.gateway.http.head_memory import HeadMemory
from webapp.gateway.http.pool import Pool
from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.inference.reply_head import ReplyHead
from webapp.gateway.inference.stream_reply import StreamReply

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nAccept: */*\r\n\r\n%b"


@pytest.fixture
def memory() -> HeadMemory[str]:
    known: HeadMemory[str] = HeadMemory()
    known.learn(HEAD % (b"5", b"hello"), 5, "understood")
    assert known.meaning == "understood"
    return known


@pytest.mark.parametrize("body", [b"h", b"hello", b"x" * 12345])
def test_a_head_is_known_again_whatever_the_length_of_the_body(memory: HeadMemory[str], body: bytes) -> None:
    message = HEAD % (b"%d" % len(body), body)
    assert message[memory.body_start(message) :] == body


@pytest.mark.parametrize(
    "message",
    [
        HEAD % (b"6", b"hello"),
        HEAD % (b"4", b"hello"),
        HEAD % (b"0", b""),
        HEAD % (b"", b""),
        HEAD % (b"+5", b"hello"),
        HEAD % (b" 5", b"hello"),
        HEAD % (b"5 ", b"hello"),
        HEAD % (b"0_5", b"hello"),
        HEAD % (b"-5", b"hello"),
        HEAD % ("٥".encode(), b"hello"),
        HEAD % (b"00000000005", b"hello"),
        HEAD % (b"5\r\nTransfer-Encoding: chunked", b"hello"),
        (HEAD % (b"5", b"hello")).replace(b"*/*", b"*/+"),
        (HEAD % (b"5", b"hello")).replace(b"Host: a", b"Host: b"),
        (HEAD % (b"5", b"hello")) + b"P",
        (HEAD % (b"5", b"hello"))[:-1],
        (HEAD % (b"5", b"hello"))[:30],
        b"\r\n" + HEAD % (b"5", b"hello"),
        b"",
    ],
)
def test_anything_else_is_left_to_the_parser(memory: HeadMemory[str], message: bytes) -> None:
    assert memory.body_start(message) == 0


@pytest.mark.parametrize(
    ("message", "length"),
    [
        (HEAD % (b"5", b"hello") + HEAD % (b"5", b"hello"), 5),
        (HEAD % (b"5", b"hello"), 4),
        (b"POST /x HTTP/1.1\r\nHost: a\r\n\r\nhello", 5),
        (b"POST /x HTTP/1.1\r\nX: %b\r\nContent-Length: 5\r\n\r\nhello" % (b"x" * 5000), 5),
    ],
)
def test_what_is_not_one_whole_message_with_a_length_is_not_learned(message: bytes, length: int) -> None:
    memory: HeadMemory[str] = HeadMemory()
    memory.learn(message, length, "wrong")
    assert memory.meaning is None
    assert memory.body_start(message) == 0


def test_a_sender_of_ever_new_heads_is_studied_only_now_and_then(memory: HeadMemory[int]) -> None:
    learned = set()
    for number in range(200):
        message = HEAD.replace(b"*/*", b"%d" % number) % (b"5", b"hello")
        memory.learn(message, 5, number)
        learned.add(memory.meaning)
    assert len(learned) < 40
    last = HEAD.replace(b"*/*", b"%d" % max(n for n in learned if isinstance(n, int))) % (b"5", b"hello")
    assert memory.body_start(last)


def test_every_repeated_request_on_a_connection_is_itself(stack: Stack) -> None:
    connection = stack.connect()
    for number in range(12):
        body = json.dumps(chat_body("smol", {"tokens": number + 1}, user="u" * (number % 5)))
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
        answer = connection.getresponse()
        usage = json.loads(answer.read())["usage"]
        assert (answer.status, usage["completion_tokens"]) == (200, number + 1)
        assert stack.engine.asked[-1].body == body.encode()
    connection.close()
    assert len({asked.header("x-request-id") for asked in stack.engine.asked}) == 12


def test_a_key_is_looked_up_again_for_a_head_that_repeats(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    connection = stack.connect()
    statuses = []
    for number in range(8):
        if number == 5:
            stack.publish(keys=[])
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(chat_body("smol")), {"Authorization": f"Bearer {ADA}"}
        )
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [200] * 5 + [401] * 3


@pytest.mark.parametrize("size", [1, 7, 300, 5000])
def test_repeated_and_other_requests_mix_on_one_connection_however_they_are_cut(stack: Stack, size: int) -> None:
    bodies = [json.dumps(chat_body("smol", {"tokens": n + 1}, user="u" * n)).encode() for n in range(5)]
    lines = [post(body) for body in bodies]
    other = post(bodies[0]).replace(ADA.encode(), EVE.encode())
    data = b"".join([*lines, other, *lines])
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        answers = b""
        for start in range(0, len(data), size):
            line.sendall(data[start : start + size])
        while answers.count(b"HTTP/1.1 ") < 11 or not answers.endswith(b"}"):
            answers += line.recv(65536)
    counts = [int(part.split(b",")[0].rstrip(b"}")) for part in answers.split(b'"completion_tokens": ')[1:]]
    assert counts == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    assert answers.count(b"HTTP/1.1 404 ") == 1


class Line:
    """A transport for one side only."""

    def write(self, data: bytes) -> None: ...

    def set_write_buffer_limits(self, high: int) -> None: ...

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...


class Client:
    """Takes a stream the way an exchange does."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.out: list[bytes] = []
        self.done = False

    def response_started(self, head: ResponseHead) -> Any:
        lines = ReplyHead(b"HEAD", True, True, True)
        self.reply = StreamReply(head.status, lines, self.out.append, True)
        self.upstream.send_events_to(self.reply.event)
        return self.reply.data

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self.reply.finish(data)
        self.done = True

    def body(self) -> bytes:
        """What a client makes of it."""
        rest = b"".join(self.out).removeprefix(b"HEAD")
        body = b""
        while not rest.startswith(b"0\r\n"):
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            assert rest[int(size, 16) :].startswith(b"\r\n")
            rest = rest[int(size, 16) + 2 :]
        assert rest == b"0\r\n\r\n"
        return body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"n":1}\n\n'
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
ODD_PAYLOADS = [b"\r\n", b"5\r\n", b"data: x\r\n\r\n", b"\n\n", b"\n", b'data: {"usage":null}\n\n']


def stream(dice: random.Random) -> tuple[list[bytes], bytes]:
    """Chunks as engines write them, a few of them odd, and the body they carry."""
    payloads = [b'data: {"n":%d}\n\n' % dice.randrange(10**9) for _ in range(30)]
    for _ in range(dice.randrange(5)):
        payloads[dice.randrange(30)] = dice.choice(ODD_PAYLOADS)
    spellings = [b"%x\r\n%b\r\n"] * 8 + [b"%X\r\n%b\r\n", b"0%x\r\n%b\r\n", b"%x;a=\r\n%b\r\n"]
    framed = [dice.choice(spellings) % (len(payload), payload) for payload in payloads]
    return [*framed, b"0\r\n\r\n"], b"".join(payloads)


@pytest.mark.parametrize("seed", range(150))
def test_a_stream_is_the_same_however_it_is_chunked_and_cut(seed: int) -> None:
    dice = random.Random(seed)
    framed, body = stream(dice)
    reads = [STREAM_HEAD, *framed]
    for _ in range(dice.randrange(12)):
        at = dice.randrange(len(reads) - 1)
        if dice.random() < 0.5:
            reads[at : at + 2] = [reads[at] + reads[at + 1]]
        else:
            cut = dice.randrange(len(reads[at]) + 1)
            reads[at : at + 1] = [part for part in (reads[at][:cut], reads[at][cut:]) if part]

    client = receive(reads)
    assert client.done
    assert client.body() == body


def receive(reads: list[bytes]) -> Client:
    async def scene() -> Client:
        upstream = Upstream(Pool(Address("", 0, "/nowhere")))
        upstream.connection_made(cast(Any, Line()))
        client = Client(upstream)
        upstream.send(cast(Any, client), b"request")
        for read in reads:
            upstream.data_received(read)
        return client

    return asyncio.run(scene())


def test_an_event_alone_in_a_read_needs_no_parser_and_is_passed_on_as_it_is() -> None:
    assert chunks.payload(CHUNK) == EVENT
    again = b"%b" % CHUNK[:5] + CHUNK[5:]
    client = receive([STREAM_HEAD, CHUNK, again, b"0\r\n\r\n"])
    assert any(piece is again for piece in client.out)
    assert client.upstream.chunks == 2


EVENT = b'data: {"n":1}\n\n'
CHUNK = b"f\r\n" + EVENT + b"\r\n"
PAYLOAD_LIKE_A_CHUNK = b"data: a\n\n\r\n" + CHUNK
LONG_EVENT = b"data: abcdefg\n\n\r\ndata: hijklm\n\n"


@pytest.mark.parametrize(
    ("reads", "body"),
    [
        # The first read ends inside a chunk whose payload goes on with something that looks like a chunk.
        (
            [CHUNK, b"%x\r\n" % len(PAYLOAD_LIKE_A_CHUNK) + PAYLOAD_LIKE_A_CHUNK[:11], CHUNK, b"\r\n"],
            EVENT + PAYLOAD_LIKE_A_CHUNK,
        ),
        # It ends inside the line that says how long the next chunk is: 1f, not f.
        ([CHUNK, CHUNK + b"1", b"f\r\n" + LONG_EVENT[:17], LONG_EVENT[17:] + b"\r\n"], EVENT * 2 + LONG_EVENT),
        # It ends behind that line.
        ([CHUNK, CHUNK + b"14\r\n", CHUNK, b"\r\n"], EVENT * 2 + CHUNK),
    ],
)
def test_what_looks_like_a_chunk_and_is_not_one_is_not_taken_for_one(reads: list[bytes], body: bytes) -> None:
    assert len(LONG_EVENT) == 0x1F and len(CHUNK) == 0x14
    client = receive([STREAM_HEAD, *reads, b"0\r\n\r\n"])
    assert client.done
    assert client.body() == body


@pytest.mark.parametrize(
    "other",
    [
        CHUNK.upper(),
        CHUNK[:-1],
        CHUNK + b"0",
        CHUNK * 2,
        b"0\r\n\r\n",
        b"1\r\n\n\r\n",
        b"",
        b"%x\r\n%b\r\n" % (9000, b"x" * 8998 + b"\n\n"),
    ],
)
def test_a_read_that_is_not_one_event_goes_through_the_parser(other: bytes) -> None:
    client = receive([STREAM_HEAD, CHUNK, other])
    assert not any(piece is other for piece in client.out)
