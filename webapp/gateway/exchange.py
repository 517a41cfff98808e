"""One inference request, from its headers to its last byte and its usage record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from webapp.gateway import accounting, poller, records, refusals, reply_head, request_body
from webapp.gateway.credentials import Principal, authenticate
from webapp.gateway.directory import Deployment, choose
from webapp.gateway.document_reply import DocumentReply
from webapp.gateway.engine_errors import crashed, normalise
from webapp.gateway.errors import ENGINE, Problem, event_of, retry_after
from webapp.gateway.framing import Request, too_large_body
from webapp.gateway.replicas import Replica
from webapp.gateway.stream_reply import StreamReply
from webapp.gateway.targets import Target
from webapp.gateway.upstream import ResponseHead, Upstream

if TYPE_CHECKING:
    from webapp.gateway.front import FrontConnection

FORWARDED_HEADERS = (b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
MAX_ATTEMPTS = 3
_MAX_ERROR_BYTES = 64 * 1024
_ONE_WRITE_BYTES = 64 * 1024
_SMALL_BODY_BYTES = 64 * 1024


class Exchange:
    """A handler for the front connection and a receiver for the upstream one.

    The request may be sent again only while it is certain that no engine got it: the connection could not be made,
    or a pooled one turned out to have been closed before it took a byte.
    """

    __slots__ = (
        "_attempts",
        "_body",
        "_buffered",
        "_chunks",
        "_connecting",
        "_error",
        "_is_over",
        "_sent_at",
        "_stalled_since",
        "_tried",
        "_upstream",
        "deployment",
        "front",
        "principal",
        "record_id",
        "replica",
        "reply",
        "request",
        "request_id",
        "started_at",
        "state",
        "target",
        "wall_started_at",
        "wish",
    )

    def __init__(
        self, front: FrontConnection, request: Request, target: Target, request_id: str, record_id: str
    ) -> None:
        self.front = front
        self.state = front.state
        self.request = request
        self.target = target
        self.request_id = request_id
        self.record_id = record_id
        self.wall_started_at = time.time()
        self.started_at = monotonic()
        self._sent_at = self._stalled_since = 0.0
        self.principal: Principal | None = None
        self.deployment: Deployment | None = None
        self.wish: request_body.Wish | None = None
        self._body = b""
        self._buffered = 0
        self._attempts = self._chunks = 0
        self._tried: list[int] = []
        self.replica: Replica | None = None
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.reply: DocumentReply | StreamReply | None = None
        self._error: tuple[int, list[bytes]] | None = None
        self._is_over = False

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
                self._make_room(request.content_length)
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
                self._make_room(request.body_bytes)
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
            self._error = (head.status, [])
            return self._take_error
        assert self.replica is not None
        own_lines = b"x-request-id: %b\r\n%b" % (self.request_id.encode(), self.replica.served_by)
        front = self.front
        lines = reply_head.build(head, self.request.version, own_lines, front.keeps_alive())
        if lines.is_stream:
            hides_usage = self.wish is not None and self.wish.hide_usage
            self.reply = StreamReply(head.status, lines, front.write, hides_usage)
        else:
            self.reply = DocumentReply(head.status, lines, front.write)
        return self.reply.data

    def _take_error(self, data: bytes) -> None:
        """The body of an engine's refusal, kept until it is whole."""
        assert self._error is not None
        status, pieces = self._error
        pieces.append(data)
        if sum(map(len, pieces)) > _MAX_ERROR_BYTES:
            self._drop_upstream()
            self._refuse(normalise(status, b""))

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self._note_chunks()
        reply = self.reply
        if reply is None:
            assert self._error is not None
            status, pieces = self._error
            self._refuse(normalise(status, b"".join((*pieces, data))))
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

    def _make_room(self, size: int) -> None:
        """Count a body that is not small against what this process may hold. Raises Problem."""
        state = self.state
        if size > state.settings.max_body_bytes:
            raise too_large_body(state.settings.max_body_bytes)
        others = state.buffered_bytes - self._buffered
        if others + size > state.settings.max_buffered_bytes:
            message = "The gateway holds as many request bodies as it may: try again shortly"
            raise Problem(503, "gateway_busy", message, headers=retry_after(2), close=True)
        # What is announced counts as held: many large bodies at once would otherwise all be let in.
        self._buffered = max(self._buffered, size)
        state.buffered_bytes = others + self._buffered

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
            self._tried.append(replica.id)
            self.state.metrics.retries += 1
            self._dispatch(monotonic())
            return
        self._connecting = None
        self._send(upstream, monotonic())

    def _send(self, upstream: Upstream, now: float) -> None:
        assert self.replica is not None
        self._upstream = upstream
        self._sent_at = now
        head, body = self._head(self.replica), self._body
        if len(body) < _ONE_WRITE_BYTES:
            upstream.send(self, head + body)
        else:
            upstream.send(self, head)
            upstream.write(body)
        if self.front.is_full:
            upstream.pause()

    def _head(self, replica: Replica) -> bytes:
        fields = self.request.fields
        forwarded = b""
        for name in FORWARDED_HEADERS:
            if name in fields:
                forwarded += b"%b: %b\r\n" % (name, fields[name])
        return b"POST %b HTTP/1.1\r\n%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (
            self.target.engine_path,
            replica.host_header,
            fields.get(b"content-type", b"application/json"),
            len(self._body),
            self.request_id.encode(),
            forwarded,
        )

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
            self.state.buffered_bytes -= self._buffered
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
