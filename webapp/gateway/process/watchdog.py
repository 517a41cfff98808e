"""One slow clock for all time limits of a process: ticks only while somebody is connected."""

import asyncio
import logging
from time import monotonic

from webapp.gateway.http.connection import Connection
from webapp.gateway.http.proxies import Network, ProxiedConnection
from webapp.gateway.http.service import Service

log = logging.getLogger(__name__)

TICK_S = 0.5


class Watchdog:
    """A timer per stream would cost more than its tokens; this costs a look at each connection twice a second."""

    def __init__(
        self, service: Service[Connection], connections: set[Connection], trusted_proxies: tuple[Network, ...]
    ) -> None:
        self._service = service
        self._connections = connections
        self._trusted_proxies = trusted_proxies
        self._timer: asyncio.TimerHandle | None = None
        self._expects_one = False

    def connect(self) -> Connection:
        """Makes the protocol of a new connection."""
        # It is among the connections a moment later only: a tick in between must not be the last one.
        self._expects_one = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        if self._trusted_proxies:
            return ProxiedConnection(self._service, self._trusted_proxies)
        return Connection(self._service)

    def _tick(self) -> None:
        self._timer = None
        now = monotonic()
        for connection in list(self._connections):
            try:
                connection.check(now)
            except Exception:
                log.exception("a connection's time limits could not be checked")
                connection.transport.abort()
        if self._connections or self._expects_one:
            self._expects_one = False
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
