"""Getting a request to an engine: which replica, over which connection, and when it may be tried again."""

import asyncio
from time import monotonic
from typing import Protocol

import msgspec

from webapp.gateway.http.connection import Connection
from webapp.gateway.http.receiver import Receiver
from webapp.gateway.http.request import Request
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.inference import engine_request
from webapp.gateway.inference.request_body import ParsedRequest
from webapp.gateway.inference.shared import Shared
from webapp.gateway.routing.directory import Deployment, choose
from webapp.gateway.routing.replicas import Replica
from webapp.gateway.routing.targets import Target

MAX_ATTEMPTS = 3


class Caller(Receiver, Protocol):
    """Whose request it is, and who gets the answer."""

    front: Connection
    shared: Shared
    request: Request
    target: Target
    request_id: str

    def nobody_left(self) -> None:
        """No replica is left to try."""

    def task_ended(self, task: asyncio.Task[None]) -> None:
        """For the end of every task that works for the request."""


class Attempts(msgspec.Struct, eq=False):
    """The request may be sent again only while it is certain that no engine got it: the connection could not be made,
    or a pooled one turned out to have been closed before it took a byte.

    `sent_at` is when the last attempt began, monotonic, 0 before the first; `chunks` came of the answer's body.
    """

    caller: Caller
    parsed: ParsedRequest
    replica: Replica | None = None
    upstream: Upstream | None = None
    chunks: int = 0
    sent_at: float = 0.0
    _count: int = 0
    _tried: tuple[int, ...] = ()
    _connecting: asyncio.Task[None] | None = None

    def may_repeat(self) -> bool:
        """Asked when it is certain that the last attempt reached nobody."""
        if self._count >= MAX_ATTEMPTS:
            return False
        self.caller.shared.ledger.metrics.retries += 1
        self.release_replica()
        return True

    def dispatch(self, deployment: Deployment, now: float) -> None:
        """Send the request to the best replica that has not refused it yet."""
        table = self.caller.shared.table.loads
        replica = choose(deployment, table, self._tried, now)
        if replica is None:
            self.caller.nobody_left()
            return
        self._count += 1
        self.replica = replica
        table.cells[replica.cell] += 1
        upstream = replica.pool.take(now)
        if upstream is not None:
            self._send(upstream, replica, now)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(deployment, replica))
            self._connecting.add_done_callback(self.caller.task_ended)

    def drop(self) -> None:
        """Nobody waits for an answer any more."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream = self.upstream
        if upstream is not None:
            self.note_chunks()
            upstream.abort()

    def note_chunks(self) -> None:
        """The upstream connection goes on to serve others, so what it counted is taken now."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            self.chunks = upstream.chunks

    def release_replica(self) -> None:
        replica, self.replica = self.replica, None
        if replica is not None:
            self.caller.shared.table.loads.cells[replica.cell] -= 1

    async def _connect(self, deployment: Deployment, replica: Replica) -> None:
        try:
            upstream = await replica.pool.open(deployment.entry.connect_timeout_s)
        except OSError:
            self._connecting = None
            self.caller.shared.ledger.metrics.retries += 1
            replica.avoid()
            self.release_replica()
            self._tried += (replica.id,)
            self.dispatch(deployment, monotonic())
            return
        self._connecting = None
        self._send(upstream, replica, monotonic())

    def _send(self, upstream: Upstream, replica: Replica, now: float) -> None:
        self.upstream = upstream
        self.sent_at = now
        caller = self.caller
        path, request_id = caller.target.engine_path, caller.request_id
        engine_request.send(upstream, caller, caller.request, path, replica, request_id, self.parsed.sent)
        if caller.front.is_full:
            upstream.pause()
