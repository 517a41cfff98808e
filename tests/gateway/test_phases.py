"""Connections say what they are busy with, and a move that no table names is a mistake that shows."""

import asyncio
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, cast

import pytest

from webapp.foundation.reach import Address
from webapp.gateway.http import connection_phase, request_reader, upstream_phase
from webapp.gateway.http.phases import IllegalMove, Into
from webapp.gateway.http.pool import Pool
from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.inference import exchange_phase

Table = Mapping[Any, Iterable[Any]]

TABLES = {
    "connection": (connection_phase.ConnectionPhase, connection_phase.MOVES),
    "reader": (request_reader.ReaderPhase, request_reader.MOVES),
    "exchange": (exchange_phase.ExchangePhase, exchange_phase.MOVES),
    "upstream": (upstream_phase.UpstreamPhase, upstream_phase.MOVES),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_phase_has_its_row_and_can_be_reached_and_left_for_the_last_alone(name: str) -> None:
    phases, moves = TABLES[name]
    assert set(moves) == set(phases)
    first, last = min(phases), max(phases)
    assert _reached(moves, first) == set(phases)
    for phase in phases:
        assert last in _reached(moves, phase)
    assert set(moves[last]) <= {last}


@pytest.mark.parametrize("name", TABLES)
def test_a_move_that_the_table_does_not_name_raises(name: str) -> None:
    phases, moves = TABLES[name]
    for phase in phases:
        into = Into(moves, phase)
        for before in phases:
            if phase in moves[before]:
                assert into[before] is phase
            else:
                with pytest.raises(IllegalMove, match=f"from {before.name} to {phase.name}"):
                    into[before]


def _reached(moves: Table, first: IntEnum) -> set[IntEnum]:
    found, waiting = {first}, [first]
    while waiting:
        new = set(moves[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


class Wire:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.was_cut = False

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return self.was_cut

    def abort(self) -> None:
        self.was_cut = True


class Taker:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def response_started(self, head: ResponseHead) -> Any:
        self.told.append(str(head.status))
        return lambda data: None

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self.told.append("finished")

    def response_failed(self, reason: str, never_arrived: bool) -> None:
        self.told.append("failed")

    def upgraded(self, data: bytes) -> None:
        self.told.append("upgraded")


def opened() -> tuple[Upstream, Taker]:
    upstream = Upstream(Pool(Address("", 0, "/nowhere")))
    upstream.connection_made(cast(Any, Wire()))
    return upstream, Taker()


def walked(*reads: bytes, may_switch: bool = False) -> tuple[list[str], list[str]]:
    """The phases after the request and after each read, and what the receiver was told."""

    async def scene() -> tuple[list[str], list[str]]:
        upstream, taker = opened()
        names = [upstream.phase.name]
        upstream.send(cast(Any, taker), b"request", may_switch=may_switch)
        names.append(upstream.phase.name)
        for read in reads:
            upstream.data_received(read)
            names.append(upstream.phase.name)
        return names, taker.told

    return asyncio.run(scene())


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("reads", "phases", "told"),
    [
        ((HEAD + b"abc",), ["IDLE"], ["200", "finished"]),
        ((HEAD[:9], HEAD[9:], b"abc"), ["HEAD", "BODY", "IDLE"], ["200", "finished"]),
        ((b"HTTP/1.1 103 Early Hints\r\n\r\n", HEAD + b"abc"), ["HEAD", "IDLE"], ["200", "finished"]),
        ((HEAD + b"abc" + HEAD,), ["CLOSED"], ["failed"]),
        ((b"nonsense\r\n",), ["CLOSED"], ["failed"]),
        ((HEAD + b"abc", b"more"), ["IDLE", "CLOSED"], ["200", "finished"]),
    ],
)
def test_an_answer_moves_its_connection_through_the_table(
    reads: tuple[bytes, ...], phases: list[str], told: list[str]
) -> None:
    assert walked(*reads) == (["IDLE", "AWAITING_HEAD", *phases], told)


def test_an_answer_that_switches_makes_a_tunnel_only_when_that_was_asked_for() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert walked(switch, may_switch=True) == (["IDLE", "AWAITING_HEAD", "TUNNEL"], ["101", "upgraded"])
    assert walked(switch) == (["IDLE", "AWAITING_HEAD", "CLOSED"], ["failed"])


def test_a_second_request_is_not_sent_before_the_answer_to_the_first() -> None:
    async def scene() -> None:
        upstream, taker = opened()
        upstream.send(cast(Any, taker), b"one")
        with pytest.raises(IllegalMove, match="from AWAITING_HEAD to AWAITING_HEAD"):
            upstream.send(cast(Any, taker), b"two")

    asyncio.run(scene())


def test_a_connection_that_was_closed_before_it_was_handed_over_is_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was taken for one, and its request hung until the time limit for the first byte."""

    class OtherSide(asyncio.Protocol):
        def __init__(self, gone: asyncio.Event) -> None:
            self._gone = gone

        def connection_lost(self, error: Exception | None) -> None:
            self._gone.set()

    made = Upstream.connection_made

    def cut_at_once(upstream: Upstream, transport: asyncio.BaseTransport) -> None:
        made(upstream, transport)
        upstream.abort()

    async def scene() -> None:
        gone = asyncio.Event()
        server = await asyncio.get_running_loop().create_server(lambda: OtherSide(gone), "127.0.0.1", 0)
        pool = Pool(Address("127.0.0.1", server.sockets[0].getsockname()[1], ""))
        with pytest.raises(ConnectionResetError):
            await pool.open(5)
        await gone.wait()
        server.close()

    monkeypatch.setattr(Upstream, "connection_made", cut_at_once)
    asyncio.run(scene())
