"""The clock of all time limits never stops while somebody is there or about to be."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from webapp.gateway import watchdog
from webapp.gateway.watchdog import Watchdog


class Guarded:
    """A connection that remembers when it was looked at."""

    def __init__(self) -> None:
        self.checks: list[float] = []

    def check(self, now: float) -> None:
        self.checks.append(now)


def test_a_tick_between_a_connections_making_and_its_registration_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "TICK_S", 0.01)
    monkeypatch.setattr(watchdog, "FrontConnection", lambda state: None)

    async def scene() -> None:
        line = Guarded()
        state = SimpleNamespace(connections=set(), settings=SimpleNamespace(trusted_proxies=()))
        guard = Watchdog(cast(Any, state))
        guard.connect()
        await asyncio.sleep(0.015)  # one tick, and nobody is registered yet
        state.connections.add(line)
        async with asyncio.timeout(2):
            while not line.checks:
                await asyncio.sleep(0.005)
        state.connections.clear()
        await asyncio.sleep(0.03)
        assert guard._timer is None

    asyncio.run(scene())
