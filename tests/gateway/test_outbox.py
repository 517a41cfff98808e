"""What is written in one round of the loop leaves together, in order, and nothing is lost."""

import asyncio
from typing import Any, cast

import pytest

from webapp.gateway.http import outbox


class Line:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        if self.closing:
            raise RuntimeError("the handler is closed")
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def line() -> Any:
    return cast(Any, Line())


def test_writes_wait_for_the_end_of_the_round_and_keep_their_order(line: Any) -> None:
    async def scene() -> None:
        write = outbox.writer(line)
        write(b"one")
        write(b"two")
        assert (line.sent, outbox.waiting_bytes(line)) == ([], 6)
        await asyncio.sleep(0)
        assert (line.sent, outbox.waiting_bytes(line)) == ([b"one", b"two"], 0)
        write(b"three")
        await asyncio.sleep(0)
        assert line.sent[2:] == [b"three"]

    asyncio.run(scene())


def test_a_large_piece_takes_everything_before_it_along_at_once(line: Any) -> None:
    async def scene() -> None:
        write = outbox.writer(line)
        write(b"head")
        write(b"x" * 65_537)
        assert [len(data) for data in line.sent] == [4, 65_537]
        await asyncio.sleep(0)
        assert len(line.sent) == 2

    asyncio.run(scene())


def test_a_transport_that_closed_meanwhile_is_left_alone_and_the_others_are_served(line: Any) -> None:
    async def scene() -> None:
        other = cast(Any, Line())
        outbox.writer(line)(b"gone")
        outbox.writer(other)(b"here")
        line.closing = True
        outbox.flush()
        assert (line.sent, other.sent) == ([], [b"here"])
        await asyncio.sleep(0)

    asyncio.run(scene())
