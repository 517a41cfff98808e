"""One inference request, from its headers to its last byte and its usage record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from webapp.gateway import accounting, body_room, engine_request, poller, records, refusals, reply_head, request_body
from webapp.gateway.credentials import Principal, authenticate
from webapp.gateway.directory import Deployment, choose
from webapp.gateway.document_reply import DocumentReply
from webapp.gateway.engine_errors import EngineRefusal, crashed
from webapp.gateway.errors import ENGINE, Problem, event_of
from webapp.gateway.framing import Request
from webapp.gateway.replicas import Replica
from webapp.gateway.stream_reply import StreamReply
from webapp.gateway.targets import Target
from webapp.gateway.upstream import ResponseHead, Upstream

if TYPE_CHECKING:
    from webapp.gateway.front import FrontConnection
    from webapp.gateway.state import State

MAX_ATTEMPTS = 3
_SMALL_BODY_BYTES = 64 * 1024


class Exchange(msgspec.Struct, eq=False):
    """A handler for the front connection and a receiver for the upstream one.

    The request may be sent again only while it is certain that no engine got it: the connection could not be made,
    or a pooled one turned out to have been closed before it took a byte.
    """

    front: FrontConnection
    state: State
    request: Request
    target: Target
    request_id: str
    record_id: str
    wall_started_at: float
    started_at: float  # monotonic: when the whole request was here
    principal: Principal | None = None
    deployment: Deployment | None = None
    wish: request_body.Wish | None = None
    replica: Replica | None = None
    reply: DocumentReply | StreamReply | None = None
    _refusal: EngineRefusal | None = None
    _body: bytes = b""
    _buffered: int = 0
    _attempts: int = 0
    _chunks: int = 0
    _tried: tuple[int, ...] = ()
    _sent_at: float = 0.0
    _stalled_since: float = 0.0
    _upstream: Upstream | None = None
    _connecting: asyncio.Task[None] | None = None
    _is_over: bool = False

    @property
    def has_answered(self) -> bool:
        return self.reply is not None and self.reply.has_written

    def duration_s(self) -> float:
        """Since the whole request was here."""
        return monotonic() - self.started_at

    # --- the client's side

    def start(self) -> None:
        """The headers are here: refuse what can be refused before a body is read."""
        request = self.request
        directory = self.state.directory
        try:
            if self.target.carries_key:
                raise refusals.key_in_query()
            if not directory.is_known:
                raise refusals.not_ready()
            self.principal = authenticate(request.fields, directory, self.front.seen_credential)
            if request.method != b"POST":
                raise refusals.wrong_method(request.method)
            if request.content_length is not None and request.content_length > _SMALL_BODY_BYTES:
                self._buffered = body_room.hold(self.state, self._buffered, request.content_length)
        except Problem as problem:
            self._refuse(problem)
            return
        self.front.serve(self)
        if request.awaits_continue:
            self.front.continue_expected()

    def body_arrived(self, data: bytes) -> None:
        request = self.request
        request.body.append(data)
        request.body_bytes += len(data)
        if request.body_bytes > _SMALL_BODY_BYTES:
            try:
                self._buffered = body_room.hold(self.state, self._buffered, request.body_bytes)
            except Problem as problem:
                self._refuse(problem)

    def body_finished(self) -> None:
        now = self.started_at = monotonic()
        try:
            self._prepare()
        except Problem as problem:
            self._refuse(problem)
            return
        if self.deployment is not None and not self.deployment.ready:
            self._connecting = asyncio.get_running_loop().create_task(self._look_again())
        else:
            self._go(now)

    def client_gone(self) -> None:
        if not self._is_over:
            self._drop_upstream()
            self._settle(records.CLIENT_GONE, 499)

    def client_full(self) -> None:
        self._stalled_since = monotonic()
        if self._upstream is not None:
            self._upstream.pause()

    def client_drained(self) -> None:
        self._stalled_since = 0.0
        if self.reply is not None:
            # The engine was made to wait, so the silence was not its fault.
            self.reply.last_byte_at = monotonic()
        if self._upstream is not None:
            self._upstream.resume()

    def tunnel_data(self, data: bytes) -> None:
        """Inference requests are never upgraded."""

    def check(self, now: float) -> None:
        if self._is_over or self.deployment is None:
            return
        entry = self.deployment.entry
        if self._stalled_since:
            if now - self._stalled_since > self.state.settings.client_stall_timeout_s:
                self._drop_upstream()
                self._settle(records.CLIENT_GONE, 499)
                self.front.transport.abort()
        elif self.reply is not None and self.reply.first_byte_at:
            if now - self.reply.last_byte_at > entry.gap_timeout_s:
                self._engine_silent("gap_timeout", f"fell silent in its answer for {entry.gap_timeout_s:g} s")
        elif self._sent_at and now - self._sent_at > entry.first_byte_timeout_s:
            self._engine_silent("first_byte_timeout", f"gave no answer within {entry.first_byte_timeout_s:g} s")

    # --- the engine's side

    def response_started(self, head: ResponseHead) -> Callable[[bytes], None]:
        self._let_go_of_body()
        if not 200 <= head.status < 300:
            self._refusal = EngineRefusal(head.status)
            return self._take_refusal
        assert self.replica is not None
        own_lines = b"x-request-id: %b\r\n%b" % (self.request_id.encode(), self.replica.served_by)
        front = self.front
        lines = reply_head.build(head, self.request.version, own_lines, front.keeps_alive())
        if lines.is_stream:
            hides_usage = self.wish is not None and self.wish.hide_usage
            stream = self.reply = StreamReply(head.status, lines, front.write, hides_usage)
            if self._upstream is not None:
                self._upstream.send_events_to(stream.event)
            return stream.data
        document = self.reply = DocumentReply(head.status, lines, front.write)
        return document.data

    def _take_refusal(self, data: bytes) -> None:
        assert self._refusal is not None
        if not self._refusal.add(data):
            self._drop_upstream()
            self._refuse(self._refusal.problem())

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self._note_chunks()
        reply = self.reply
        if reply is None:
            assert self._refusal is not None
            self._refusal.add(data)
            self._refuse(self._refusal.problem())
            return
        if ended_by_close and reply.may_be_cut_off():
            self._break_off(crashed("it closed the connection before its answer was complete"))
            return
        reply.finish(data)
        self._settle(records.OK, reply.status)
        self.front.response_complete(reply.keeps_alive)

    def response_failed(self, reason: str, never_arrived: bool) -> None:
        self._note_chunks()
        if never_arrived and self._attempts < MAX_ATTEMPTS:
            self.state.metrics.retries += 1
            self._release_replica()
            self._dispatch(monotonic())
        else:
            self._break_off(crashed(reason))

    def upgraded(self, data: bytes) -> None:
        self._drop_upstream()
        self._break_off(crashed("it changed the protocol"))

    def upstream_full(self) -> None:
        """The body is sent from memory, so there is nobody to slow down."""

    def upstream_drained(self) -> None: ...

    # --- own

    def _prepare(self) -> None:
        """Find the deployment and read what is asked of it. Raises Problem."""
        request, target = self.request, self.target
        self._body = request.take_body()
        if target.deployment is not None:
            self.deployment = self._find(None)
        content_type = request.fields.get(b"content-type", b"")
        wish = self.wish = request_body.read(target.endpoint, content_type, self._body)
        deployment = self.deployment = self.deployment or self._find(wish.model)
        if target.endpoint not in deployment.endpoints:
            raise refusals.not_offered(deployment, target.endpoint)

    def _find(self, model: str | None) -> Deployment:
        """The deployment in the present snapshot: the path's, else the one the body names. Raises Problem."""
        assert self.principal is not None
        target, directory = self.target, self.state.directory
        if target.deployment is not None and target.team is not None:
            return directory.by_path(self.principal, target.team, target.deployment)
        if not model:
            raise Problem(400, "model_missing", "The body must name a model", param="model")
        return directory.by_model(self.principal, model)

    async def _look_again(self) -> None:
        """A replica may have become ready since the last poll: hear the news before saying no."""
        await poller.hear_news(self.state)
        self._connecting = None
        assert self.wish is not None
        try:
            self.deployment = self._find(self.wish.model)
        except Problem as problem:
            self._refuse(problem)
            return
        self._go(monotonic())

    def _go(self, now: float) -> None:
        """To the engine, if there is one."""
        deployment, wish, target = self.deployment, self.wish, self.target
        assert deployment is not None and wish is not None
        if not deployment.ready:
            self._refuse(deployment.not_up())
            return
        content_type = self.request.fields.get(b"content-type", b"")
        self._body = request_body.for_engine(target.endpoint, content_type, self._body, wish, deployment.upstream_model)
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        """Send the request to the best replica that has not refused it yet."""
        assert self.deployment is not None
        replica = choose(self.deployment, self.state.table, self._tried, now)
        if replica is None:
            self._refuse(refusals.unreachable(self.deployment))
            return
        self._attempts += 1
        self.replica = replica
        self.state.table.cells[replica.cell] += 1
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
            replica.avoid()
            self._release_replica()
            self._tried += (replica.id,)
            self.state.metrics.retries += 1
            self._dispatch(monotonic())
            return
        self._connecting = None
        self._send(upstream, monotonic())

    def _send(self, upstream: Upstream, now: float) -> None:
        assert self.replica is not None
        self._upstream = upstream
        self._sent_at = now
        path = self.target.engine_path
        engine_request.send(upstream, self, self.request, path, self.replica, self.request_id, self._body)
        if self.front.is_full:
            upstream.pause()

    def _engine_silent(self, code: str, what: str) -> None:
        self._drop_upstream()
        self._break_off(Problem(504, code, f"The engine {what}", source=ENGINE))

    def _break_off(self, problem: Problem) -> None:
        """End with an error, in whatever way is still possible."""
        reply = self.reply
        if reply is None or not reply.has_written:
            self.reply = None
            self._refuse(problem)
            return
        reply.break_off(event_of(problem, self.request_id))
        self._settle(records.ENGINE_FAILED, reply.status, problem)
        self.front.abort()

    def _refuse(self, problem: Problem) -> None:
        outcome = records.ENGINE_FAILED if problem.source == ENGINE else records.REFUSED
        self._settle(outcome, problem.status, problem)
        self.front.refuse(problem, self.request_id)

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream = self._upstream
        if upstream is not None:
            self._note_chunks()
            upstream.abort()

    def _let_go_of_body(self) -> None:
        if self._buffered:
            body_room.release(self.state, self._buffered)
            self._buffered = 0
        self._body = b""
        self.request.body = []

    def _note_chunks(self) -> None:
        """The upstream connection goes on to serve others, so what it counted is taken now."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._chunks = upstream.chunks

    def _release_replica(self) -> None:
        replica, self.replica = self.replica, None
        if replica is not None:
            self.state.table.cells[replica.cell] -= 1

    def _settle(self, outcome: str, status: int, problem: Problem | None = None) -> None:
        """The one end of every exchange: give back what was held, write down what happened."""
        self._is_over = True
        self._let_go_of_body()
        if self.reply is not None:
            self.reply.count(self._chunks)
        accounting.write_down(self, outcome, status, None if problem is None else problem.code)
        self._release_replica()
