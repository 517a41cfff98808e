"""The engines that take requests, and the idle connections kept to each."""

import asyncio
import logging
import re
import time
from collections.abc import Iterable

from webapp.foundation.dialing import dial
from webapp.foundation.reach import Address, Reach, parse_address, way
from webapp.gateway.head_memory import HeadMemory
from webapp.gateway.load_table import LoadTable
from webapp.gateway.snapshot import DeploymentEntry, Place, ReplicaEntry
from webapp.gateway.upstream import ResponseHead, Upstream

log = logging.getLogger(__name__)

# Shorter than the 5 s after which uvicorn and llama.cpp close an idle connection, so that we are always first.
MAX_IDLE_S = 4.0
MAX_IDLE_CONNECTIONS = 256
AVOID_S = 2.0


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
            if upstream.is_dead:
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


class Replica:
    """One engine process. `cell` is its place in the shared load table."""

    __slots__ = ("avoid_until", "cell", "host_header", "id", "pool", "served_by")

    def __init__(self, replica_id: int, deployment: DeploymentEntry, address: Address, cell: int) -> None:
        self.id = replica_id
        self.cell = cell
        self.pool = Pool(address, deployment.closes_after_stream)
        self.host_header = b"host: " + address.authority + b"\r\n"
        self.served_by = f"x-modelyard-served-by: {_header_safe(deployment.name)}/{replica_id}\r\n".encode()
        self.avoid_until = 0.0

    def avoid(self) -> None:
        """It refused a connection: others are asked first for a moment."""
        self.avoid_until = time.monotonic() + AVOID_S


def _header_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "?", name)


class Replicas:
    """Keeps a replica's connections from one snapshot to the next."""

    def __init__(self, table: LoadTable) -> None:
        self._table = table
        self._known: dict[Place, Replica] = {}

    def ready(self, deployment: DeploymentEntry) -> list[Replica]:
        """The replicas of a deployment that may take requests."""
        if deployment.desired != "running":
            return []
        entries = [entry for entry in deployment.replicas if entry.state == "ready"]
        return [found for entry in entries if (found := self._get(deployment, entry)) is not None]

    def keep_only(self, wanted: Iterable[Place]) -> None:
        """Close idle connections to what is not in the snapshot any more; running requests go on."""
        for gone in self._known.keys() - set(wanted):
            self._known.pop(gone).pool.close()

    def opened_connections(self) -> int:
        return sum(replica.pool.opened for replica in self._known.values())

    def _get(self, deployment: DeploymentEntry, entry: ReplicaEntry) -> Replica | None:
        known = self._known.get(entry.place)
        if known is None:
            try:
                reach = Reach(entry.host, parse_address(entry.url))
            except ValueError as error:
                log.warning("replica %d is left out: %s", entry.id, error)
                return None
            known = Replica(entry.id, deployment, way(reach), self._table.cell(entry.id))
            self._known[entry.place] = known
        known.pool.closes_after_stream = deployment.closes_after_stream
        return known
