"""Where a request goes: to an engine, to web, or nowhere. The one place that reads a request's target."""

import logging
import re
from time import monotonic, time

from webapp.gateway.http import cors
from webapp.gateway.http.connection import Connection
from webapp.gateway.http.errors import Problem, own_failure, retry_after
from webapp.gateway.http.request import MAX_TARGET_BYTES, Request
from webapp.gateway.http.response import status_line
from webapp.gateway.http.service import Limits
from webapp.gateway.inference.exchange import Exchange
from webapp.gateway.ledger.access_log import plain_line
from webapp.gateway.ledger.records import new_id
from webapp.gateway.process.state import State
from webapp.gateway.relay.web_relay import WebRelay
from webapp.gateway.routing import models_list
from webapp.gateway.routing.credentials import owner
from webapp.gateway.routing.targets import ENDPOINTS, Kind, Target, classify

log = logging.getLogger(__name__)

# Members of an Enum are slow to reach.
_INFERENCE = Kind.INFERENCE

_GIVEN_ID = re.compile(rb"[A-Za-z0-9._:/-]{1,128}\Z")


class Routes:
    """The service behind the connections of a process."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._ledger = state.ledger
        self._inference = state.inference
        self.limits: Limits = state.settings
        self.is_draining = False

    def opened(self, connection: Connection) -> Problem | None:
        """One more connection; a problem if it is one too many."""
        self._ledger.metrics.accepted += 1
        connections = self._state.connections
        connections.add(connection)
        if len(connections) <= self._state.settings.max_connections:
            return None
        message = "The gateway has too many connections"
        return Problem(503, "too_many_connections", message, headers=retry_after(1), close=True)

    def closed(self, connection: Connection) -> None:
        self._state.connections.discard(connection)

    def begin(self, front: Connection, request: Request) -> None:
        """Serve a request whose headers are complete and readable."""
        if len(request.target) > MAX_TARGET_BYTES:
            message = f"The request target is longer than {MAX_TARGET_BYTES} bytes"
            self.refuse(front, request, Problem(414, "target_too_long", message, close=True))
            return
        target = classify(request.target)
        kind = target.kind
        if request.method == b"OPTIONS" and target.is_own and cors.is_preflight(request.method, request.fields):
            self._answer_preflight(front, request)
        elif kind is _INFERENCE:
            record_id = new_id()
            given = request.fields.get(b"x-request-id")
            request_id = record_id if given is None else _request_id(request, record_id)
            Exchange(front, self._inference, request, target, request_id, record_id, time(), monotonic()).start()
        elif kind is Kind.WEB:
            WebRelay(front, self._state.web, request, _request_id(request, new_id())).start()
        elif kind is Kind.MODELS:
            self._answer_models(front, request, target)
        else:
            self.refuse(front, request, _nowhere(target))

    def refuse(self, front: Connection, request: Request, problem: Problem, request_id: str = "") -> None:
        """Answer with an error and note it."""
        request_id = request_id or _request_id(request, new_id())
        self._ledger.metrics.refused[problem.code] += 1
        written = front.refuse(problem, request_id)
        line = plain_line(request, request_id, front.client, problem.status, 0.0, written, problem.code)
        self._ledger.access_log.add(line)
        target = _classify(request)
        if target.is_own:
            endpoint = "models" if target.kind is Kind.MODELS else target.endpoint
            whose = owner(request.fields, self._state.table.directory)
            self._ledger.refusals.count(whose, endpoint, problem, request_id)

    def failed(self, front: Connection, request: Request, error: Exception) -> None:
        """Answer a request that could not be begun."""
        request_id = _request_id(request, new_id())
        log.error("request %s failed in the gateway", request_id, exc_info=error)
        self.refuse(front, request, own_failure(), request_id)

    def own_lines(self, request: Request) -> bytes:
        """What an answer of the API says to browsers; nothing for pages, which are for their own origin."""
        return self._state.cors.lines(request.fields.get(b"origin")) if _classify(request).is_own else b""

    def _answer_preflight(self, front: Connection, request: Request) -> None:
        request_id = _request_id(request, new_id())
        try:
            lines = self._state.cors.preflight(request.fields)
        except Problem as problem:
            self.refuse(front, request, problem)
            return
        keeps = front.keeps_alive()
        ending = b"" if keeps else b"connection: close\r\n"
        lines += self.own_lines(request)
        data = b"%bx-request-id: %b\r\n%b%b\r\n" % (status_line(204), request_id.encode(), lines, ending)
        front.write(data)
        self._ledger.access_log.add(plain_line(request, request_id, front.client, 204, 0.0, len(data)))
        front.response_complete(keeps)

    def _answer_models(self, front: Connection, request: Request, target: Target) -> None:
        request_id = _request_id(request, new_id())
        try:
            headers = self.own_lines(request)
            directory = self._state.table.directory
            data = models_list.answer(directory, request, target, request_id, front.keeps_alive(), headers)
        except Problem as problem:
            self.refuse(front, request, problem)
            return
        keeps = front.keeps_alive()
        front.write(data)
        self._ledger.access_log.add(plain_line(request, request_id, front.client, 200, 0.0, len(data)))
        front.response_complete(keeps)


def _classify(request: Request) -> Target:
    """Of a request that is refused, too: its target may be of any length, and `classify` remembers what it is given."""
    return classify(request.target[:MAX_TARGET_BYTES])


def _nowhere(target: Target) -> Problem:
    if target.kind is Kind.MALFORMED:
        return Problem(400, "bad_target", "The request target must be a path that begins with /", close=True)
    if target.kind is Kind.HIDDEN:
        return Problem(404, "not_found", "Not found")
    offered = ", ".join(sorted(ENDPOINTS | {"models"}))
    path, right = target.path[:200], target.right_path
    advice = f"use {right}; " if right else ""
    return Problem(404, "unknown_endpoint", f"{path} is not an endpoint: {advice}below /v1/ there are: {offered}")


def _request_id(request: Request, record_id: str) -> str:
    given = request.fields.get(b"x-request-id")
    if given is not None and _GIVEN_ID.match(given):
        return given.decode()
    return record_id
