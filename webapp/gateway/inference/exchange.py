"""One inference request, from its headers to its last byte and its usage record."""

import asyncio
from collections.abc import Callable
from time import monotonic

from webapp.gateway.admission import key_slots, permission, refusals
from webapp.gateway.admission.body_room import SMALL_BYTES
from webapp.gateway.http import content_coding
from webapp.gateway.http.errors import CLIENT, ENGINE, GATEWAY, Problem, event_of
from webapp.gateway.http.receiver import ResponseHead
from webapp.gateway.inference import accounting, reply_head, request_body, request_rules
from webapp.gateway.inference.attempts import Attempts
from webapp.gateway.inference.document_reply import DocumentReply
from webapp.gateway.inference.engine_errors import EngineRefusal, crashed
from webapp.gateway.inference.stream_reply import StreamReply
from webapp.gateway.ledger import records
from webapp.gateway.routing.credentials import Principal, authenticate, owner
from webapp.gateway.routing.directory import Deployment, Directory

# How a request ended that was refused before it was answered, by who failed.
_OUTCOMES = {CLIENT: records.CLIENT_ERROR, ENGINE: records.ENGINE_FAILED, GATEWAY: records.REFUSED}


class Exchange(Attempts, eq=False):
    """A handler for the front connection and, with its Attempts, a receiver for the upstream one."""

    principal: Principal | None = None
    wish: request_body.Wish | None = None
    reply: DocumentReply | StreamReply | None = None
    # For counting what the engine does not tell: how much it was asked, and what, unless that was long.
    asked: bytes = b""
    asked_bytes: int = 0
    choices: int = 1
    prompts: int = 1
    _warnings: bytes = b""
    _refusal: EngineRefusal | None = None
    _buffered: int = 0
    _stalled_since: float = 0.0
    _directory: Directory | None = None  # the one that let this request through
    _slot: int = key_slots.NONE
    _is_rewritten: bool = False
    _has_looked_again: bool = False
    _is_over: bool = False
    _is_packed: bool = False  # the body is compressed

    @property
    def has_answered(self) -> bool:
        return self.reply is not None and self.reply.has_written

    @property
    def was_sent(self) -> bool:
        """Whether an engine may have got it."""
        return self._sent_at > 0

    def duration_s(self) -> float:
        """Since the whole request was here."""
        return monotonic() - self.started_at

    # --- the client's side

    def start(self) -> None:
        """The headers are here: refuse what can be refused before a body is read."""
        request = self.request
        directory = self.shared.table.directory
        try:
            if self.target.carries_key:
                raise refusals.key_in_query()
            if not directory.is_known:
                raise refusals.not_ready()
            self._directory = directory
            self.principal = authenticate(request.fields, directory, self.front.seen_credential)
            if request.method != b"POST":
                raise refusals.wrong_method(request.method)
            self._is_packed = content_coding.check(request.fields.get(b"content-encoding"))
            self._slot = self.shared.slots.take(self.principal)
            if request.content_length is not None and request.content_length > SMALL_BYTES:
                self._buffered = self.shared.bodies.hold(self._buffered, request.content_length)
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
        if request.body_bytes > SMALL_BYTES:
            try:
                self._buffered = self.shared.bodies.hold(self._buffered, request.body_bytes)
            except Problem as problem:
                self._refuse(problem)

    def body_finished(self) -> None:
        self.started_at = monotonic()
        self._body = self.request.take_body()
        if self._is_packed:
            self._connecting = asyncio.get_running_loop().create_task(self._unpack())
        else:
            self._body_is_here(self.started_at)

    async def _unpack(self) -> None:
        """Undo the Content-Encoding, off the event loop: a small body may become a thousand times as large. What it
        becomes is what the limits count."""
        decoder = content_coding.Decoder(self._body)
        try:
            while not decoder.is_done:
                await asyncio.to_thread(decoder.step)
                self._buffered = self.shared.bodies.hold(self._buffered, decoder.size)
        except Problem as problem:
            self._connecting = None
            self._refuse(problem)
            return
        self._connecting = None
        self._body = decoder.body()
        self._body_is_here(monotonic())

    def _body_is_here(self, now: float) -> None:
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
        if self._is_withdrawn():
            return
        if self._stalled_since:
            if now - self._stalled_since > self.shared.client_stall_timeout_s:
                self._drop_upstream()
                self._settle(records.CLIENT_GONE, 499)
                self.front.transport.abort()
        elif self.reply is not None and self.reply.first_byte_at:
            if now - self.reply.last_byte_at > entry.gap_timeout_s:
                self._engine_silent("gap_timeout", f"fell silent in its answer for {entry.gap_timeout_s:g} s")
        elif self._sent_at and now - self._sent_at > entry.first_byte_timeout_s:
            self._engine_silent("first_byte_timeout", f"gave no answer within {entry.first_byte_timeout_s:g} s")

    def _is_withdrawn(self) -> bool:
        """Ends a request whose key or grant is not there any more, or whose engine was paused."""
        assert self.principal is not None and self.deployment is not None
        directory = self.shared.table.directory
        if directory is self._directory and self.principal.expires_at is None:
            return False
        self._directory = directory
        problem = permission.withdrawn(self.principal, self.deployment, directory)
        if problem is None and self.replica is not None and directory.is_paused(self.deployment.id, self.replica.id):
            problem = refusals.paused(self.deployment)
        if problem is not None:
            self._drop_upstream()
            self._break_off(problem)
        elif self.principal.key is not None:
            # With the end that the key has by now; the clock is asked about that one without a new snapshot, too.
            self.principal = directory.key(self.principal.key)
        return problem is not None

    # --- the engine's side

    def response_started(self, head: ResponseHead) -> Callable[[bytes], None]:
        self._let_go_of_body()
        if not 200 <= head.status < 300:
            self._refusal = EngineRefusal(head.status)
            return self._take_refusal
        assert self.replica is not None
        front, cors = self.front, self.shared.cors
        own_lines = b"x-request-id: %b\r\n%b%b" % (self.request_id.encode(), self.replica.served_by, self._warnings)
        if cors.has_origins:
            own_lines += cors.lines(self.request.fields.get(b"origin"))
        lines = reply_head.build(head, self.request.version, own_lines, front.keeps_alive())
        if lines.is_stream:
            hides_usage = self.wish is not None and self.wish.hide_usage
            usages = self._usages_awaited()
            stream = self.reply = StreamReply(head.status, lines, front.write, hides_usage, usages)
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
        if never_arrived and self._may_repeat():
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
        if target.deployment is not None:
            self.deployment = self._find(None)
        content_type = request.fields.get(b"content-type", b"")
        wish = self.wish = request_body.read(target.endpoint, content_type, self._body)
        deployment = self.deployment = self.deployment or self._find(wish.model)
        if target.endpoint not in deployment.endpoints:
            raise refusals.not_offered(deployment, target.endpoint)
        known, wish.known = wish.known, None
        if known is not None and not request_rules.is_plain(known, deployment.entry):
            ruled = request_rules.apply(target.endpoint, known, deployment.entry, self._body)
            self._body, self._warnings = ruled.body, ruled.warnings
            self.choices, self.prompts = ruled.choices, ruled.prompts

    def _usages_awaited(self) -> int:
        """How often a stream will tell of usage, to be added up."""
        assert self.deployment is not None
        return self.choices * self.prompts if self.deployment.entry.usage_per_choice else 1

    def _find(self, model: str | None) -> Deployment:
        """The deployment in the present snapshot: the path's, else the one the body names. Raises Problem."""
        assert self.principal is not None
        target, directory = self.target, self.shared.table.directory
        if target.deployment is not None and target.team is not None:
            return directory.by_path(self.principal, target.team, target.deployment)
        if not model:
            raise Problem(400, "model_missing", "The body must name a model", param="model")
        return directory.by_model(self.principal, model)

    async def _look_again(self) -> None:
        """A replica may have become ready, or taken another's place, since the last poll: hear the news before saying
        no."""
        self._has_looked_again = True
        await self.shared.hear_news()
        self._connecting = None
        assert self.wish is not None
        try:
            self.deployment = self._find(self.wish.model)
        except Problem as problem:
            self._refuse(problem)
            return
        self._go(monotonic())

    def _nobody_left(self) -> None:
        assert self.deployment is not None
        if self._has_looked_again:
            self._refuse(refusals.unreachable(self.deployment))
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._look_again())

    def _go(self, now: float) -> None:
        """To the engine, if there is one."""
        deployment, wish, target = self.deployment, self.wish, self.target
        assert deployment is not None and wish is not None
        if not deployment.ready:
            self._refuse(deployment.not_up())
            return
        if not self._is_rewritten:
            self._is_rewritten = True
            kind, name = self.request.fields.get(b"content-type", b""), deployment.upstream_model
            try:
                self._body = request_body.for_engine(target.endpoint, kind, self._body, wish, name)
            except Problem as problem:
                self._refuse(problem)
                return
            self.asked_bytes = len(self._body)
            if self.asked_bytes <= SMALL_BYTES:
                self.asked = self._body
        self._dispatch(now)

    def _engine_silent(self, code: str, what: str) -> None:
        self._drop_upstream()
        self._break_off(Problem(504, code, f"The engine {what}", source=ENGINE))

    def _break_off(self, problem: Problem) -> None:
        """End with an error, in whatever way is still possible. What was under way is no mistake of the client's."""
        outcome = records.ENGINE_FAILED if problem.source == ENGINE else records.REFUSED
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

    def _let_go_of_body(self) -> None:
        if self._buffered:
            self.shared.bodies.release(self._buffered)
            self._buffered = 0
        self._body = b""
        self.request.body = []

    def _settle(self, outcome: str, status: int, problem: Problem | None = None) -> None:
        """The one end of every exchange: give back what was held, write down what happened."""
        self._is_over = True
        self._let_go_of_body()
        if self.reply is not None:
            self.reply.count(self._chunks)
        self.shared.slots.give_back(self._slot)
        shared = self.shared
        code = None if problem is None else problem.code
        accounting.write_down(self, shared.ledger, shared.meter, outcome, status, code)
        self._release_replica()
