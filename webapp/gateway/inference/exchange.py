"""One inference request, from its headers to its last byte and its usage record.

Long because it is one class with one phase; what has a state of its own (attempts, replies, admission) stands beside.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import msgspec

from webapp.gateway.admission import refusals
from webapp.gateway.admission.admission import Admitted, Refusal
from webapp.gateway.admission.body_room import SMALL_BYTES, TINY_BYTES
from webapp.gateway.http import content_coding
from webapp.gateway.http.connection import Connection
from webapp.gateway.http.errors import CLIENT, ENGINE, GATEWAY, Problem, event_of, own_failure
from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.http.request import Request
from webapp.gateway.inference import accounting, reply_head, request_body, request_rules
from webapp.gateway.inference.attempts import Attempts
from webapp.gateway.inference.document_reply import DocumentReply
from webapp.gateway.inference.engine_errors import EngineRefusal, crashed
from webapp.gateway.inference.exchange_phase import (
    ANSWERING,
    INTO_ANSWERING,
    INTO_LOOKING,
    INTO_OVER,
    INTO_RECEIVING,
    INTO_REFUSED,
    INTO_SENDING,
    INTO_UNPACKING,
    NEW,
    OVER,
    ExchangePhase,
)
from webapp.gateway.inference.shared import Shared
from webapp.gateway.inference.stream_reply import StreamReply
from webapp.gateway.ledger import records
from webapp.gateway.routing.credentials import Principal, owner
from webapp.gateway.routing.directory import Deployment
from webapp.gateway.routing.replicas import Replica
from webapp.gateway.routing.targets import Target

log = logging.getLogger(__name__)

# How a request ended that was refused before it was answered, by who failed.
_OUTCOMES = {CLIENT: records.CLIENT_ERROR, ENGINE: records.ENGINE_FAILED, GATEWAY: records.REFUSED}


class Exchange(msgspec.Struct, eq=False):
    """A handler for the client's connection, and the receiver of what its Attempts bring."""

    front: Connection
    shared: Shared
    request: Request
    target: Target
    request_id: str
    record_id: str
    wall_started_at: float
    started_at: float  # monotonic: when the whole request was here
    phase: ExchangePhase = NEW
    principal: Principal | None = None
    deployment: Deployment | None = None
    parsed: request_body.ParsedRequest | None = None
    reply: DocumentReply | StreamReply | None = None
    _admitted: Admitted | None = None
    _attempts: Attempts | None = None
    _body: bytes = b""
    _warnings: bytes = b""
    _refusal: EngineRefusal | None = None
    _stalled_since: float = 0.0
    _has_looked_again: bool = False
    _task: asyncio.Task[None] | None = None  # unpacks, or asks web

    @property
    def has_answered(self) -> bool:
        return self.reply is not None and self.reply.has_written

    @property
    def replica(self) -> Replica | None:
        """The one that has it now, or had it last."""
        return None if self._attempts is None else self._attempts.replica

    @property
    def was_sent(self) -> bool:
        """Whether an engine may have got it."""
        return self._attempts is not None and self._attempts.sent_at > 0

    def duration_s(self) -> float:
        """Since the whole request was here."""
        return monotonic() - self.started_at

    # --- the client's side

    def start(self) -> None:
        """The headers are here: refuse what can be refused before a body is read."""
        request, front = self.request, self.front
        admitted = self.shared.admission.admit(request, self.target, front.seen_credential)
        self.principal = admitted.principal
        if isinstance(admitted, Refusal):
            self._refuse(admitted.problem)
            return
        self._admitted = admitted
        self.phase = INTO_RECEIVING[self.phase]
        front.serve(self)
        if request.awaits_continue:
            front.continue_expected()

    def body_arrived(self, data: bytes) -> None:
        request = self.request
        request.body.append(data)
        request.body_bytes += len(data)
        if request.body_bytes > SMALL_BYTES:
            self._hold(request.body_bytes)

    def body_finished(self) -> None:
        self.started_at = monotonic()
        self._body = self.request.take_body()
        assert self._admitted is not None
        if self._admitted.is_packed:
            self.phase = INTO_UNPACKING[self.phase]
            self._work(self._unpack())
        else:
            self._body_is_here(self.started_at)

    async def _unpack(self) -> None:
        """Undo the Content-Encoding, off the event loop: a small body may become a thousand times as large. What it
        becomes is what the limits count."""
        decoder = content_coding.Decoder(self._body)
        try:
            while not decoder.is_done:
                await asyncio.to_thread(decoder.step)
                if not self._hold(decoder.size):
                    return
        except Problem as problem:
            self._refuse(problem)
            return
        self._body = decoder.body()
        self._body_is_here(monotonic())

    def _body_is_here(self, now: float) -> None:
        try:
            deployment = self._prepare()
        except Problem as problem:
            self._refuse(problem)
            return
        if deployment.ready:
            self._go(deployment, now)
        else:
            self._look_again()

    def client_gone(self) -> None:
        if self.phase is not OVER:
            self._drop_work()
            self._settle(records.CLIENT_GONE, 499)

    def client_full(self) -> None:
        self._stalled_since = monotonic()
        if self._attempts is not None and self._attempts.upstream is not None:
            self._attempts.upstream.pause()

    def client_drained(self) -> None:
        self._stalled_since = 0.0
        if self.reply is not None:
            # The engine was made to wait, so the silence was not its fault.
            self.reply.last_byte_at = monotonic()
        if self._attempts is not None and self._attempts.upstream is not None:
            self._attempts.upstream.resume()

    def tunnel_data(self, data: bytes) -> None:
        """Inference requests are never upgraded."""

    def check(self, now: float) -> None:
        deployment, admitted = self.deployment, self._admitted
        if self.phase is OVER or deployment is None or admitted is None:
            return
        entry = deployment.entry
        problem = self.shared.admission.withdrawn(admitted, deployment, self.replica)
        if problem is not None:
            self._drop_work()
            self._break_off(problem)
        elif self._stalled_since:
            if now - self._stalled_since > self.shared.client_stall_timeout_s:
                self._drop_work()
                self._settle(records.CLIENT_GONE, 499)
                self.front.transport.abort()
        elif self.reply is not None and self.reply.first_byte_at:
            if now - self.reply.last_byte_at > entry.gap_timeout_s:
                self._engine_silent("gap_timeout", f"stopped streaming for {entry.gap_timeout_s:g} s")
        elif self._attempts is not None and 0 < self._attempts.sent_at < now - entry.first_byte_timeout_s:
            self._engine_silent("first_byte_timeout", f"timed out: no response within {entry.first_byte_timeout_s:g} s")

    # --- the engine's side

    def response_started(self, head: ResponseHead) -> Callable[[bytes], None]:
        attempts, admitted = self._attempts, self._admitted
        assert attempts is not None and admitted is not None
        parsed = attempts.parsed
        parsed.sent = b""
        if admitted.held_bytes:
            self.shared.admission.keep(admitted, len(parsed.kept))
        if not 200 <= head.status < 300:
            self.phase = INTO_REFUSED[self.phase]
            self._refusal = EngineRefusal(head.status)
            return self._take_refusal
        self.phase = INTO_ANSWERING[self.phase]
        assert attempts.replica is not None and self.deployment is not None
        front, cors = self.front, self.shared.cors
        own_lines = b"x-request-id: %b\r\n%b%b" % (self.request_id.encode(), attempts.replica.served_by, self._warnings)
        if cors.has_origins:
            own_lines += cors.lines(self.request.fields.get(b"origin"))
        lines = reply_head.build(head, self.request.version, own_lines, front.keeps_alive())
        if lines.is_stream:
            usages = parsed.choices * parsed.prompts if self.deployment.entry.usage_per_choice else 1
            stream = self.reply = StreamReply(head.status, lines, front.write, parsed.hide_usage, usages)
            if attempts.upstream is not None:
                attempts.upstream.send_events_to(stream.event)
            return stream.data
        document = self.reply = DocumentReply(head.status, lines, front.write)
        return document.data

    def _take_refusal(self, data: bytes) -> None:
        assert self._refusal is not None
        if not self._refusal.add(data):
            self._drop_work()
            self._refuse(self._refusal.problem())

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        assert self._attempts is not None
        self._attempts.note_chunks()
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
        attempts, deployment = self._attempts, self.deployment
        assert attempts is not None and deployment is not None
        attempts.note_chunks()
        if never_arrived and attempts.may_repeat():
            attempts.dispatch(deployment, monotonic())
        else:
            self._break_off(crashed(reason))

    def upgraded(self, data: bytes) -> None:
        self._drop_work()
        self._break_off(crashed("it changed the protocol"))

    def upstream_full(self) -> None:
        """The body is sent from memory, so there is nobody to slow down."""

    def upstream_drained(self) -> None: ...

    def nobody_left(self) -> None:
        assert self.deployment is not None
        if self._has_looked_again:
            self._refuse(refusals.unreachable(self.deployment))
        else:
            self._look_again()

    # --- own

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on in a task. There is one at a time: each ends with the beginning of what comes next."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self.task_ended)

    def task_ended(self, task: asyncio.Task[None]) -> None:
        """What nobody expected is answered: without a look at it the client would wait for ever."""
        if task is self._task:
            self._task = None
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """A mistake of ours, in whatever works for this request."""
        log.error("request %s failed in the gateway", self.request_id, exc_info=error)
        if self.phase is not OVER:
            self._drop_work()
            self._break_off(own_failure(), records.GATEWAY_FAILED)
        elif self.front.is_served_by(self):
            # It was written down already, and its answer is not out.
            self.front.abort()

    def _hold(self, size: int) -> bool:
        """Count the body; whether there is room for it."""
        assert self._admitted is not None
        try:
            self.shared.admission.hold(self._admitted, size)
        except Problem as problem:
            self._refuse(problem)
            return False
        return True

    def _prepare(self) -> Deployment:
        """Find the deployment and read what is asked of it. Raises Problem."""
        request, target, admission, admitted = self.request, self.target, self.shared.admission, self._admitted
        assert admitted is not None
        if target.deployment is not None:
            self.deployment = admission.find(admitted, None)
        content_type = request.fields.get(b"content-type", b"")
        parsed = self.parsed = request_body.read(target.endpoint, content_type, self._body)
        deployment = self.deployment = self.deployment or admission.find(admitted, parsed.model)
        admission.admit_to_model(admitted, deployment)
        known, parsed.known = parsed.known, None
        if known is not None and not request_rules.is_plain(known, deployment.entry):
            ruled = request_rules.apply(target.endpoint, known, deployment.entry, self._body)
            self._body, self._warnings = ruled.body, ruled.warnings
            parsed.choices, parsed.prompts = ruled.choices, ruled.prompts
        return deployment

    def _look_again(self) -> None:
        """A replica may have become ready, or taken another's place, since the last poll: hear the news before saying
        no."""
        self._has_looked_again = True
        self.phase = INTO_LOOKING[self.phase]
        self._work(self._hear_news())

    async def _hear_news(self) -> None:
        await self.shared.hear_news()
        assert self.parsed is not None and self._admitted is not None
        try:
            deployment = self.deployment = self.shared.admission.find(self._admitted, self.parsed.model)
        except Problem as problem:
            self._refuse(problem)
            return
        self._go(deployment, monotonic())

    def _go(self, deployment: Deployment, now: float) -> None:
        """To the engine, if there is one."""
        if not deployment.ready:
            self._refuse(deployment.not_up())
            return
        self.phase = INTO_SENDING[self.phase]
        attempts = self._attempts
        if attempts is None:
            try:
                attempts = self._attempts = self._first_attempt(deployment)
            except Problem as problem:
                self._refuse(problem)
                return
        attempts.dispatch(deployment, now)

    def _first_attempt(self, deployment: Deployment) -> Attempts:
        """The body as the engine gets it; a short one is kept, which counts until the request is over. Raises
        Problem."""
        target, parsed, admitted = self.target, self.parsed, self._admitted
        assert parsed is not None and admitted is not None
        kind = self.request.fields.get(b"content-type", b"")
        body = request_body.for_engine(target.endpoint, kind, self._body, parsed, deployment.upstream_model)
        size = len(body)
        if size <= SMALL_BYTES:
            if size > TINY_BYTES:
                self.shared.admission.hold(admitted, size)
            parsed.kept = body
        parsed.sent, parsed.sent_bytes, self._body = body, size, b""
        return Attempts(self, parsed)

    def _engine_silent(self, code: str, what: str) -> None:
        self._drop_work()
        self._break_off(Problem(504, code, f"The engine {what}", source=ENGINE))

    def _break_off(self, problem: Problem, outcome: str | None = None) -> None:
        """End with an error, in whatever way is still possible. What was under way is no mistake of the client's."""
        outcome = outcome or (records.ENGINE_FAILED if problem.source == ENGINE else records.REFUSED)
        reply = self.reply
        if reply is None or not reply.has_written:
            self.reply = None
            self._refuse(problem, outcome)
            return
        reply.break_off(event_of(problem, self.request_id))
        self._settle(outcome, reply.status, problem)
        self.front.abort()

    def _refuse(self, problem: Problem, outcome: str | None = None) -> None:
        if self.deployment is None:
            self._count_refusal(problem)
        self._settle(outcome or _OUTCOMES[problem.source], problem.status, problem)
        self.front.refuse(problem, self.request_id)

    def _count_refusal(self, problem: Problem) -> None:
        """No deployment has a record of it."""
        whose = self.principal or owner(self.request.fields, self.shared.table.directory)
        self.shared.ledger.refusals.count(whose, self.target.endpoint, problem, self.request_id)

    def _drop_work(self) -> None:
        """Whatever is under way for this request ends here."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._attempts is not None:
            self._attempts.drop()

    def _let_go_of_body(self) -> None:
        if self.parsed is not None:
            self.parsed.sent = b""
        self._body = b""
        self.request.body = []

    def _settle(self, outcome: str, status: int, problem: Problem | None = None) -> None:
        """The one end of every exchange: give back what was held, write down what happened."""
        before = self.phase
        self.phase = INTO_OVER[before]
        shared, attempts = self.shared, self._attempts
        if before < ANSWERING:
            self._let_go_of_body()
        if self.reply is not None and attempts is not None:
            self.reply.count(attempts.chunks)
        if self._admitted is not None:
            shared.admission.leave(self._admitted)
        code = None if problem is None else problem.code
        accounting.write_down(self, shared.ledger, shared.meter, outcome, status, code)
        if attempts is not None:
            attempts.release_replica()
            self._attempts = None  # it knows us: only the cycle collector would free either
