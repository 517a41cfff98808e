"""Getting a request to an engine: which replica, over which connection, and when it may be tried again."""

import asyncio
from time import monotonic
from typing import cast

import msgspec

from webapp.gateway.http.connection import Connection
from webapp.gateway.http.receiver import Receiver
from webapp.gateway.http.request import Request
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.inference import engine_request
from webapp.gateway.inference.shared import Shared
from webapp.gateway.routing.directory import Deployment, choose
from webapp.gateway.routing.replicas import Replica
from webapp.gateway.routing.targets import Target

MAX_ATTEMPTS = 3


class Attempts(msgspec.Struct, eq=False):
    """The half of an Exchange that looks towards the engine.

    The request may be sent again only while it is certain that no engine got it: the connection could not be made,
    or a pooled one turned out to have been closed before it took a byte.
    """

    front: Connection
    shared: Shared
    request: Request
    target: Target
    request_id: str
    record_id: str
    wall_started_at: float
    started_at: float  # monotonic: when the whole request was here
    deployment: Deployment | None = None
    replica: Replica | None = None
    _body: bytes = b""
    _attempts: int = 0
    _chunks: int = 0
    _tried: tuple[int, ...] = ()
    _sent_at: float = 0.0
    _upstream: Upstream | None = None
    _connecting: asyncio.Task[None] | None = None

    def _nobody_left(self) -> None:
        """No replica is left to try."""
        raise NotImplementedError

    def _may_repeat(self) -> bool:
        """Asked when it is certain that the last attempt reached nobody."""
        if self._attempts >= MAX_ATTEMPTS:
            return False
        self.shared.ledger.metrics.retries += 1
        self._release_replica()
        return True

    def _dispatch(self, now: float) -> None:
        """Send the request to the best replica that has not refused it yet."""
        assert self.deployment is not None
        replica = choose(self.deployment, self.shared.table.loads, self._tried, now)
        if replica is None:
            self._nobody_left()
            return
        self._attempts += 1
        self.replica = replica
        self.shared.table.loads.cells[replica.cell] += 1
        upstream = replica.pool.take(now)
        if upstream is not None:
            self._send(upstream, now)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(replica))

    async def _connect(self, replica: Replica) -> None:
        assert self.deployment is not None
        try:
            upstream = await replica.pool.open(self.deployment.entry.connect_timeout_s)
        except OSError:
            self._connecting = None
            self.shared.ledger.metrics.retries += 1
            replica.avoid()
            self._release_replica()
            self._tried += (replica.id,)
            self._dispatch(monotonic())
            return
        self._connecting = None
        self._send(upstream, monotonic())

    def _send(self, upstream: Upstream, now: float) -> None:
        assert self.replica is not None
        self._upstream = upstream
        self._sent_at = now
        path = self.target.engine_path
        engine_request.send(
            upstream, cast(Receiver, self), self.request, path, self.replica, self.request_id, self._body
        )
        if self.front.is_full:
            upstream.pause()

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream = self._upstream
        if upstream is not None:
            self._note_chunks()
            upstream.abort()

    def _note_chunks(self) -> None:
        """The upstream connection goes on to serve others, so what it counted is taken now."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._chunks = upstream.chunks

    def _release_replica(self) -> None:
        replica, self.replica = self.replica, None
        if replica is not None:
            self.shared.table.loads.cells[replica.cell] -= 1
