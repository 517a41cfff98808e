"""The clock of all time limits never stops while somebody is there or about to be."""

import asyncio
from typing import Any, cast

import pytest

from webapp.gateway.process import watchdog
from webapp.gateway.process.watchdog import Watchdog


class Guarded:
    """A connection that remembers when it was looked at."""

    def __init__(self) -> None:
        self.checks: list[float] = []

    def check(self, now: float) -> None:
        self.checks.append(now)


def tick(guard: Watchdog) -> None:
    """The time of the next tick has come."""
    assert guard._timer is not None
    guard._timer.cancel()
    guard._tick()


def test_a_tick_between_a_connections_making_and_its_registration_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "TICK_S", 3600)
    monkeypatch.setattr(watchdog, "Connection", lambda service: None)

    async def scene() -> None:
        line = Guarded()
        connections: set[Any] = set()
        guard = Watchdog(cast(Any, None), connections, ())
        guard.connect()
        tick(guard)  # nobody is registered yet
        connections.add(line)
        tick(guard)
        assert line.checks
        connections.clear()
        tick(guard)
        assert guard._timer is None

    asyncio.run(scene())
