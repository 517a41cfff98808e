"""One inference request, from its headers to its last byte and its usage record."""

from __future__ import annotations

import asyncio
import time
from time import monotonic
from typing import TYPE_CHECKING

from webapp.gateway import accounting, request_body
from webapp.gateway.credentials import Principal, authenticate
from webapp.gateway.directory import Deployment, choose
from webapp.gateway.engine_errors import crashed, normalise
from webapp.gateway.errors import ENGINE, Problem, retry_after
from webapp.gateway.framing import Request, too_large_body
from webapp.gateway.records import Outcome
from webapp.gateway.replicas import Replica
from webapp.gateway.reply import Reply
from webapp.gateway.targets import Target
from webapp.gateway.upstream import ResponseHead, Upstream

if TYPE_CHECKING:
    from webapp.gateway.front import FrontConnection

FORWARDED_HEADERS = (b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
MAX_ATTEMPTS = 3
_MAX_ERROR_BYTES = 64 * 1024
_ONE_WRITE_BYTES = 64 * 1024


class Exchange:
    """A handler for the front connection and a receiver for the upstream one.

    The request may be sent again only while it is certain that no engine got it: the connection could not be made,
    or a pooled one turned out to have been closed before it took a byte.
    """

    __slots__ = (
        "_attempts",
        "_body",
        "_buffered",
        "_connecting",
        "_deployment",
        "_error",
        "_front",
        "_is_over",
        "_principal",
        "_replica",
        "_reply",
        "_request",
        "_sent_at",
        "_stalled_since",
        "_started_at",
        "_state",
        "_target",
        "_tried",
        "_upstream",
        "_wall_started_at",
        "_wish",
        "record_id",
        "request_id",
    )

    def __init__(
        self, front: FrontConnection, request: Request, target: Target, request_id: str, record_id: str
    ) -> None:
        self._front = front
        self._state = front.state
        self._request = request
        self._target = target
        self.request_id = request_id
        self.record_id = record_id
        self._wall_started_at = time.time()
        self._started_at = monotonic()
        self._sent_at = self._stalled_since = 0.0
        self._principal: Principal | None = None
        self._deployment: Deployment | None = None
        self._wish: request_body.Wish | None = None
        self._body = b""
        self._buffered = 0
        self._attempts = 0
        self._tried: list[int] = []
        self._replica: Replica | None = None
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._error: tuple[int, list[bytes]] | None = None
        self._is_over = False

    @property
    def has_answered(self) -> bool:
        return self._reply is not None and self._reply.has_written

    # --- the client's side

    def start(self) -> None:
        """The headers are here: refuse what can be refused before a body is read."""
        request = self._request
        directory = self._state.directory
        try:
            if self._target.carries_key:
                raise _key_in_query()
            if not directory.is_known:
                raise _not_ready()
            self._principal = authenticate(request.fields, directory.keys, directory.session_secret)
            if request.method != b"POST":
                raise _wrong_method(request.method)
            self._check_size(request.content_length or 0)
        except Problem as problem:
            self._refuse(problem)
            return
        self._front.serve(self)
        if request.awaits_continue:
            self._front.continue_expected()

    def body_arrived(self, data: bytes) -> None:
        request = self._request
        request.body.append(data)
        request.body_bytes += len(data)
        self._hold(len(data))
        try:
            self._check_size(request.body_bytes)
        except Problem as problem:
            self._refuse(problem)

    def body_finished(self) -> None:
        self._started_at = monotonic()
        try:
            self._prepare()
        except Problem as problem:
            self._refuse(problem)
            return
        self._dispatch()

    def client_gone(self) -> None:
        if not self._is_over:
            self._drop_upstream()
            self._settle(Outcome.CLIENT_GONE, 499)

    def client_full(self) -> None:
        self._stalled_since = monotonic()
        if self._upstream is not None:
            self._upstream.pause()

    def client_drained(self) -> None:
        self._stalled_since = 0.0
        if self._reply is not None:
            # The engine was made to wait, so the silence was not its fault.
            self._reply.last_byte_at = monotonic()
        if self._upstream is not None:
            self._upstream.resume()

    def tunnel_data(self, data: bytes) -> None:
        """Inference requests are never upgraded."""

    def check(self, now: float) -> None:
        if self._is_over or self._deployment is None:
            return
        entry = self._deployment.entry
        if self._stalled_since:
            if now - self._stalled_since > self._state.settings.client_stall_timeout_s:
                self._drop_upstream()
                self._settle(Outcome.CLIENT_GONE, 499)
                self._front.transport.abort()
        elif self._reply is not None and self._reply.last_byte_at:
            if now - self._reply.last_byte_at > entry.gap_timeout_s:
                self._engine_silent("gap_timeout", f"fell silent in its answer for {entry.gap_timeout_s:g} s")
        elif self._sent_at and now - self._sent_at > entry.first_byte_timeout_s:
            self._engine_silent("first_byte_timeout", f"gave no answer within {entry.first_byte_timeout_s:g} s")

    # --- the engine's side

    def response_started(self, head: ResponseHead) -> None:
        self._let_go_of_body()
        if not 200 <= head.status < 300:
            self._error = (head.status, [])
            return
        assert self._replica is not None
        assert self._wish is not None
        self._reply = Reply(
            self._front,
            head,
            version=self._request.version,
            own_headers=b"x-request-id: %b\r\n%b" % (self.request_id.encode(), self._replica.served_by),
            keeps_alive=self._front.keeps_alive(),
            hides_usage=self._wish.hide_usage,
        )

    def response_data(self, data: bytes) -> None:
        reply = self._reply
        if reply is not None:
            reply.data(data)
        elif self._error is not None:
            pieces = self._error[1]
            pieces.append(data)
            if sum(map(len, pieces)) > _MAX_ERROR_BYTES:
                self._drop_upstream()
                self._refuse(normalise(self._error[0], b""))

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self._upstream = None
        reply = self._reply
        if reply is None:
            assert self._error is not None
            status, pieces = self._error
            self._refuse(normalise(status, b"".join((*pieces, data))))
            return
        if ended_by_close and reply.events is not None and not reply.events.is_done:
            self._break_off(crashed("it closed the connection before its answer was complete"))
            return
        reply.finish(data)
        self._settle(Outcome.OK, reply.status)
        self._front.response_complete(reply.keeps_alive)

    def response_failed(self, reason: str, never_arrived: bool) -> None:
        self._upstream = None
        if never_arrived and self._attempts < MAX_ATTEMPTS:
            self._state.metrics.retries += 1
            self._release_replica()
            self._dispatch()
        else:
            self._break_off(crashed(reason))

    def upgraded(self, data: bytes) -> None:
        self._drop_upstream()
        self._break_off(crashed("it changed the protocol"))

    def upstream_full(self) -> None:
        """The body is sent from memory, so there is nobody to slow down."""

    def upstream_drained(self) -> None: ...

    # --- own

    def _check_size(self, size: int) -> None:
        state = self._state
        if size > state.settings.max_body_bytes:
            raise too_large_body(state.settings.max_body_bytes)
        if state.buffered_bytes - self._buffered + size > state.settings.max_buffered_bytes:
            message = "The gateway holds as many request bodies as it may: try again shortly"
            raise Problem(503, "gateway_busy", message, headers=retry_after(2), close=True)

    def _prepare(self) -> None:
        """Find the deployment and make the body it gets. Raises Problem."""
        assert self._principal is not None
        request, target, directory = self._request, self._target, self._state.directory
        body = request.take_body()
        content_type = request.fields.get(b"content-type", b"")
        if target.deployment is not None and target.team is not None:
            self._deployment = directory.by_path(self._principal, target.team, target.deployment)
        wish = self._wish = request_body.read(target.endpoint, content_type, body)
        if self._deployment is None:
            if not wish.model:
                raise Problem(400, "model_missing", "The body must name a model", param="model")
            self._deployment = directory.by_model(self._principal, wish.model)
        deployment = self._deployment
        if target.endpoint not in deployment.endpoints:
            raise _not_offered(deployment, target.endpoint)
        if not deployment.ready:
            raise deployment.not_up()
        self._body = request_body.for_engine(target.endpoint, content_type, body, wish, deployment.upstream_model)
        self._hold(len(self._body) - self._buffered)

    def _dispatch(self) -> None:
        """Send the request to the best replica that has not refused it yet."""
        assert self._deployment is not None
        replica = choose(self._deployment, self._state.table, self._tried, monotonic())
        if replica is None:
            self._refuse(_unreachable(self._deployment))
            return
        self._attempts += 1
        self._replica = replica
        self._state.table.cells[replica.cell] += 1
        upstream = replica.pool.take()
        if upstream is not None:
            self._send(upstream)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(replica))

    async def _connect(self, replica: Replica) -> None:
        assert self._deployment is not None
        try:
            upstream = await replica.pool.open(self._deployment.entry.connect_timeout_s)
        except OSError:
            self._connecting = None
            replica.avoid()
            self._release_replica()
            self._tried.append(replica.id)
            self._state.metrics.retries += 1
            self._dispatch()
            return
        self._connecting = None
        self._send(upstream)

    def _send(self, upstream: Upstream) -> None:
        assert self._replica is not None
        self._upstream = upstream
        self._sent_at = monotonic()
        head, body = self._head(self._replica), self._body
        if len(body) < _ONE_WRITE_BYTES:
            upstream.send(self, head + body)
        else:
            upstream.send(self, head)
            upstream.write(body)
        if self._front.is_full:
            upstream.pause()

    def _head(self, replica: Replica) -> bytes:
        fields = self._request.fields
        lines = [b"%b: %b\r\n" % (name, fields[name]) for name in FORWARDED_HEADERS if name in fields]
        return b"POST %b HTTP/1.1\r\n%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (
            self._target.engine_path,
            replica.host_header,
            fields.get(b"content-type", b"application/json"),
            len(self._body),
            self.request_id.encode(),
            b"".join(lines),
        )

    def _engine_silent(self, code: str, what: str) -> None:
        self._drop_upstream()
        self._break_off(Problem(504, code, f"The engine {what}", source=ENGINE))

    def _break_off(self, problem: Problem) -> None:
        """End with an error, in whatever way is still possible."""
        reply = self._reply
        if reply is None or not reply.has_written:
            self._reply = None
            self._refuse(problem)
            return
        reply.break_off(problem, self.request_id)
        self._settle(Outcome.ENGINE_FAILED, reply.status, problem)
        self._front.abort()

    def _refuse(self, problem: Problem) -> None:
        outcome = Outcome.ENGINE_FAILED if problem.source == ENGINE else Outcome.REFUSED
        self._settle(outcome, problem.status, problem)
        self._front.refuse(problem, self.request_id)

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _hold(self, more: int) -> None:
        self._buffered += more
        self._state.buffered_bytes += more

    def _let_go_of_body(self) -> None:
        self._state.buffered_bytes -= self._buffered
        self._buffered = 0
        self._body = b""
        self._request.body = []

    def _release_replica(self) -> None:
        replica, self._replica = self._replica, None
        if replica is not None:
            self._state.table.cells[replica.cell] -= 1

    def _settle(self, outcome: Outcome, status: int, problem: Problem | None = None) -> None:
        """The one end of every exchange: give back what was held, write down what happened."""
        self._is_over = True
        self._let_go_of_body()
        if outcome is Outcome.CLIENT_GONE and self._reply is not None:
            self._reply.count()
        accounting.write_down(
            accounting.Story(
                record_id=self.record_id,
                request_id=self.request_id,
                at=self._wall_started_at,
                duration_s=monotonic() - self._started_at,
                started_at=self._started_at,
                client=self._front.client,
                method=self._request.method,
                target=self._target,
                principal=self._principal,
                deployment=self._deployment,
                replica=self._replica,
                reply=self._reply,
                is_stream=self._wish is not None and self._wish.stream,
                outcome=outcome.value,
                status=status,
                error=None if problem is None else problem.code,
            ),
            self._state,
        )
        self._release_replica()


def _key_in_query() -> Problem:
    message = "A key in the URL ends up in logs: send it in the Authorization header, and replace this one"
    return Problem(401, "key_in_query", message)


def _not_ready() -> Problem:
    message = "The gateway has just started and has not learned its keys from web yet: try again shortly"
    return Problem(503, "gateway_starting", message, headers=retry_after(1))


def _unreachable(deployment: Deployment) -> Problem:
    message = f"No replica of '{deployment.name}' could be reached: it may be restarting, try again shortly"
    return Problem(502, "engine_unreachable", message, source=ENGINE, headers=retry_after(2))


def _wrong_method(method: bytes) -> Problem:
    message = f"{method.decode('latin-1')} is not possible here: use POST"
    return Problem(405, "method_not_allowed", message, headers=b"allow: POST\r\n")


def _not_offered(deployment: Deployment, endpoint: str) -> Problem:
    offered = ", ".join(sorted(deployment.endpoints))
    message = f"The model '{deployment.name}' does not offer /v1/{endpoint}; it offers: {offered}"
    return Problem(404, "endpoint_not_offered", message)
