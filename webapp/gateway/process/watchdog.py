"""One slow clock for all time limits of a process: ticks only while somebody is connected."""

import asyncio
import logging
from time import monotonic

from webapp.gateway.http.connection import Connection
from webapp.gateway.http.proxies import ProxiedConnection
from webapp.gateway.process.state import State

log = logging.getLogger(__name__)

TICK_S = 0.5


class Watchdog:
    """A timer per stream would cost more than its tokens; this costs a look at each connection twice a second."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._kind = ProxiedConnection if state.settings.trusted_proxies else Connection
        self._timer: asyncio.TimerHandle | None = None
        self._expects_one = False

    def connect(self) -> Connection:
        """Makes the protocol of a new connection."""
        # It is among the connections a moment later only: a tick in between must not be the last one.
        self._expects_one = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        return self._kind(self._state)

    def _tick(self) -> None:
        self._timer = None
        now = monotonic()
        for connection in list(self._state.connections):
            try:
                connection.check(now)
            except Exception:
                log.exception("a connection's time limits could not be checked")
                connection.transport.abort()
        if self._state.connections or self._expects_one:
            self._expects_one = False
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
