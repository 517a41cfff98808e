"""Carries everything that is not inference to web and back: pages, the REST API, uploads, downloads, WebSockets."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from webapp.gateway.admission.body_room import SMALL_BYTES, BodyRoom
from webapp.gateway.http.connection import Connection
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.pool import Pool
from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.request import Header, Request, lower_name
from webapp.gateway.http.response import status_line
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.ledger.access_log import plain_line
from webapp.gateway.ledger.ledger import Ledger
from webapp.gateway.relay import pages

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
FIRST_BYTE_TIMEOUT_S = 300.0
_MAX_HELD_BYTES = 256 * 1024

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection".split()
    + b"te trailer transfer-encoding upgrade".split()
)
# What web believes about the client comes from us alone.
_OURS = frozenset(
    b"host content-length expect forwarded x-real-ip x-request-id x-modelyard-internal x-forwarded-for".split()
    + b"x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-prefix".split()
)
_REPEATABLE = frozenset((b"GET", b"HEAD"))


@dataclass(slots=True)
class Web:
    """What the relays of one process share. `public_scheme` is what browsers used."""

    pool: Pool
    bodies: BodyRoom
    ledger: Ledger
    public_scheme: str
    client_stall_timeout_s: float


class WebRelay:
    """A handler for the front connection and a receiver for the one to web. Bodies stream both ways, each side
    slowed down by the other; after a 101 it is a plain tunnel."""

    def __init__(self, front: Connection, web: Web, request: Request, request_id: str) -> None:
        self._front = front
        self._web = web
        self._request = request
        self._request_id = request_id
        self._started_at = monotonic()
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._body_bytes = 0  # seen so far
        self._buffered = 0  # counted in web.bodies
        self._is_chunked = False
        self._is_tunnel = False
        self._is_over = False
        self._may_repeat = request.method in _REPEATABLE and not request.expects_body and not request.wants_websocket
        self._keeps_alive = False
        self._stalled_since = 0.0
        self._status = 0
        self._bytes_out = 0
        self.has_answered = False

    def start(self) -> None:
        self._front.serve(self)
        self._web.ledger.metrics.relayed += 1
        try:
            self._web.bodies.check(self._request.content_length or 0)
            if self._request.expects_body:
                pages.check_coding(self._request)
        except Problem as problem:
            self._refuse(problem)
            return
        pooled = self._web.pool.take(self._started_at) if self._may_repeat else None
        if pooled is not None:
            self._send(pooled)
        else:
            self._connect_soon()

    # --- the client's side

    def body_arrived(self, data: bytes) -> None:
        self._body_bytes += len(data)
        self._hold(self._body_bytes)
        if self._is_over:
            return
        if self._request.is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._pass_up(data)

    def body_finished(self) -> None:
        if self._request.is_chunked:
            self._pass_up(b"0\r\n\r\n")
        if self._upstream is not None:
            self._upstream.sent_all()

    def tunnel_data(self, data: bytes) -> None:
        if self._is_tunnel and self._upstream is not None:
            self._upstream.write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _MAX_HELD_BYTES:
            self._front.transport.abort()

    def client_gone(self) -> None:
        if not self._is_over:
            self._drop_upstream()
            self._log(499 if not self._is_tunnel else 101)

    def client_full(self) -> None:
        self._stalled_since = monotonic()
        if self._upstream is not None:
            self._upstream.pause()

    def client_drained(self) -> None:
        self._stalled_since = 0.0
        if self._upstream is not None:
            self._upstream.resume()

    def check(self, now: float) -> None:
        if self._is_over:
            return
        if self._stalled_since and now - self._stalled_since > self._web.client_stall_timeout_s:
            self._front.transport.abort()
        elif not self.has_answered and now - self._started_at > FIRST_BYTE_TIMEOUT_S:
            if not self._request.is_complete:
                # A byte a minute would hold a place among the bodies for ever, and needs no key.
                self._refuse(pages.too_slow())
                return
            self._drop_upstream()
            self._answer_down("Upstream timeout: web did not answer in time.", 504)

    # --- web's side

    def response_started(self, head: ResponseHead) -> Callable[[bytes], None]:
        request = self._request
        self._status = head.status
        self.has_answered = True
        lines = [
            status_line(head.status),
            *_passed_on(head.headers),
            b"x-request-id: %b\r\n" % self._request_id.encode(),
        ]
        has_body = request.method != b"HEAD" and head.status not in (101, 204, 304)
        self._is_chunked = has_body and head.length is None and request.version != "1.0"
        is_framed = self._is_chunked or not has_body or head.length is not None
        is_settled = request.is_complete and not request.wants_websocket
        self._keeps_alive = is_framed and is_settled and self._front.keeps_alive()
        if head.status == 101:
            lines.append(b"connection: upgrade\r\nupgrade: websocket\r\n")
        elif self._is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif head.length is not None:
            lines.append(b"content-length: %d\r\n" % head.length)
        if not self._keeps_alive and head.status != 101:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._front.write(b"".join(lines))
        return self._pass_down

    def _pass_down(self, data: bytes) -> None:
        if not data:
            return
        self._bytes_out += len(data)
        self._front.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        self._upstream = None
        if data:
            self._pass_down(data)
        if self._is_chunked:
            self._front.write(b"0\r\n\r\n")
        self._log(self._status)
        self._front.response_complete(self._keeps_alive)

    def response_failed(self, reason: str, never_arrived: bool) -> None:
        self._upstream = None
        if not self.has_answered and self._may_repeat:
            self._may_repeat = False
            self._connect_soon()
        elif not self.has_answered:
            self._answer_down("Web stopped in the middle of this request.", 502)
        else:
            self._log(self._status)
            self._front.abort()

    def upgraded(self, data: bytes) -> None:
        assert self._upstream is not None
        self._is_tunnel = True
        self._web.ledger.metrics.tunnels += 1
        held, self._held = self._held, []
        for piece in held:
            self._upstream.write(piece)
        if data:
            self._front.write(data)

    def upstream_full(self) -> None:
        self._front.pause()

    def upstream_drained(self) -> None:
        self._front.resume()

    # --- own

    def _connect_soon(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """A mistake of ours."""
        log.error("request %s failed in the gateway", self._request_id, exc_info=error)
        if self._is_over:
            if self._front.is_served_by(self):
                self._front.abort()
            return
        self._drop_upstream()
        if self.has_answered:
            self._log(self._status)
            self._front.abort()
        else:
            self._answer_down("The gateway failed in the middle of this request. Its log says why.", 500)

    async def _connect(self) -> None:
        try:
            upstream = await self._web.pool.open(CONNECT_TIMEOUT_S)
        except OSError:
            self._connecting = None
            self._answer_down("It is being started, or restarted after a failure.", 503)
            return
        self._connecting = None
        self._send(upstream)

    def _send(self, upstream: Upstream) -> None:
        self._upstream = upstream
        held: list[bytes] = []
        if not self._request.wants_websocket:
            held, self._held, self._held_bytes = self._held, [], 0
        upstream.send(
            self,
            b"".join((self._head(), *held)),
            is_head_request=self._request.method == b"HEAD",
            is_whole=self._request.is_complete or not self._request.expects_body,
            may_switch=self._request.wants_websocket,
        )
        self._front.continue_expected()
        if held:
            self._front.resume()

    def _pass_up(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _MAX_HELD_BYTES:
            self._front.pause()

    def _head(self) -> bytes:
        request = self._request
        host = request.fields.get(b"host", b"localhost")
        lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, request.target, host)]
        lines += [line for line in _passed_on(request.headers) if not _is_ours(line)]
        lines.append(
            b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\nx-request-id: %b\r\n"
            % (
                self._front.client.encode(),
                self._web.public_scheme.encode(),
                host,
                self._request_id.encode(),
            )
        )
        if request.wants_websocket:
            lines.append(b"connection: upgrade\r\nupgrade: websocket\r\n")
        elif request.is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif request.content_length is not None:
            lines.append(b"content-length: %d\r\n" % request.content_length)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _hold(self, size: int) -> None:
        """Count the body by what has come, and refuse one that may not grow so large. What is only announced does not
        count: without a key, a byte each would shut out everybody else."""
        if size <= SMALL_BYTES:
            return
        try:
            self._buffered = self._web.bodies.hold(self._buffered, size)
        except Problem as problem:
            self._refuse(problem)

    def _refuse(self, problem: Problem) -> None:
        self._drop_upstream()
        self._web.ledger.metrics.refused[problem.code] += 1
        self._log(problem.status)
        if self.has_answered:
            self._front.abort()
            return
        self._front.write(pages.refused(self._request, self._request_id, problem))
        self._front.response_complete(False)

    def _answer_down(self, why: str, status: int) -> None:
        front = self._front
        self._log(status)
        keeps = front.keeps_alive() and self._request.is_complete and not self._request.wants_websocket
        front.write(pages.web_is_down(self._request, self._request_id, keeps, why, status=status))
        front.response_complete(keeps)

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _log(self, status: int) -> None:
        self._is_over = True
        self._web.bodies.release(self._buffered)
        self._buffered = 0
        duration_s = monotonic() - self._started_at
        self._web.ledger.access_log.add(
            plain_line(self._request, self._request_id, self._front.client, status, duration_s, self._bytes_out)
        )


def _passed_on(headers: list[Header]) -> list[bytes]:
    """The end-to-end headers as lines. Names with an underscore go: CGI-like code takes them for ones with a dash."""
    named: set[bytes] = set()
    for name, value in headers:
        if lower_name(name) == b"connection":
            named.update(part.strip().lower() for part in value.split(b","))
    lines = []
    for name, value in headers:
        lowered = lower_name(name)
        is_framing = lowered in _HOP_BY_HOP or lowered == b"content-length"
        if not (is_framing or lowered in named or b"_" in lowered):
            lines.append(b"%b: %b\r\n" % (lowered, value))
    return lines


def _is_ours(line: bytes) -> bool:
    return line.partition(b":")[0] in _OURS
