"""Connections to one address that are kept alive between requests."""

import asyncio

from webapp.foundation.dialing import dial
from webapp.foundation.reach import Address
from webapp.gateway.http.head_memory import HeadMemory
from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.http.upstream_phase import CLOSED

# Shorter than the 5 s after which uvicorn and llama.cpp close an idle connection, so that we are always first.
MAX_IDLE_S = 4.0
MAX_IDLE_CONNECTIONS = 256


class Pool:
    """Connections to one address. The most recently used is taken first, so the others can grow old and be dropped."""

    def __init__(self, address: Address, closes_after_stream: bool = False) -> None:
        self.address = address
        self.closes_after_stream = closes_after_stream
        self.memory: HeadMemory[ResponseHead] = HeadMemory()
        self._idle: list[Upstream] = []
        self.opened = 0

    def take(self, now: float) -> Upstream | None:
        """A connection that was alive a moment ago, or None. `now` is monotonic."""
        while self._idle:
            upstream = self._idle.pop()
            if upstream.phase is CLOSED:
                continue
            if now - upstream.idle_since < MAX_IDLE_S:
                return upstream
            upstream.abort()
        return None

    async def open(self, timeout_s: float) -> Upstream:
        """A new connection; raises OSError (TimeoutError included)."""
        loop = asyncio.get_running_loop()
        address = self.address
        async with asyncio.timeout(timeout_s):
            if address.path:
                handle = await dial(address.path)
                _, upstream = await loop.create_unix_connection(lambda: Upstream(self), sock=handle)
            else:
                _, upstream = await loop.create_connection(lambda: Upstream(self), address.host, address.port)
        self.opened += 1
        if upstream.phase is CLOSED:
            raise ConnectionResetError("it closed the connection at once")
        return upstream

    def take_back(self, upstream: Upstream) -> None:
        if len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(upstream)
        else:
            upstream.abort()

    def forget(self, upstream: Upstream) -> None:
        """Called for every connection that ended, idle or not."""
        if upstream.idle_since and upstream in self._idle:
            self._idle.remove(upstream)

    def close(self) -> None:
        idle, self._idle = self._idle, []
        for upstream in idle:
            upstream.abort()
