"""Where a request goes: to an engine, to web, or nowhere. The one place that reads a request's target."""

from __future__ import annotations

import re
from time import monotonic, time
from typing import TYPE_CHECKING

from webapp.gateway.http import cors
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.request import MAX_TARGET_BYTES, Request
from webapp.gateway.http.response import status_line
from webapp.gateway.inference.exchange import Exchange
from webapp.gateway.ledger.access_log import plain_line
from webapp.gateway.ledger.records import new_id
from webapp.gateway.relay.web_relay import WebRelay
from webapp.gateway.routing import models_list
from webapp.gateway.routing.credentials import owner
from webapp.gateway.routing.targets import ENDPOINTS, Kind, Target, classify

if TYPE_CHECKING:
    from webapp.gateway.http.connection import Connection
    from webapp.gateway.process.state import State

# Members of an Enum are slow to reach.
_INFERENCE = Kind.INFERENCE

_GIVEN_ID = re.compile(rb"[A-Za-z0-9._:/-]{1,128}\Z")


def begin(front: Connection, request: Request) -> None:
    """Serve a request whose headers are complete and readable."""
    if len(request.target) > MAX_TARGET_BYTES:
        message = f"The request target is longer than {MAX_TARGET_BYTES} bytes"
        refuse(front, request, Problem(414, "target_too_long", message, close=True))
        return
    target = classify(request.target)
    kind = target.kind
    if request.method == b"OPTIONS" and target.is_own and cors.is_preflight(request.method, request.fields):
        _answer_preflight(front, request)
    elif kind is _INFERENCE:
        record_id = new_id()
        request_id = _request_id(request, record_id)
        Exchange(front, front.state, request, target, request_id, record_id, time(), monotonic()).start()
    elif kind is Kind.WEB:
        WebRelay(front, request, _request_id(request, new_id())).start()
    elif kind is Kind.MODELS:
        _answer_models(front, request, target)
    else:
        refuse(front, request, _nowhere(target))


def refuse(front: Connection, request: Request, problem: Problem) -> None:
    """Answer with an error and note it."""
    request_id = _request_id(request, new_id())
    front.state.metrics.refused[problem.code] += 1
    written = front.refuse(problem, request_id)
    line = plain_line(request, request_id, front.client, problem.status, 0.0, written, problem.code)
    front.state.access_log.add(line)
    target = _classify(request)
    if target.is_own:
        endpoint = "models" if target.kind is Kind.MODELS else target.endpoint
        front.state.refusals.count(owner(request.fields, front.state.directory), endpoint, problem, request_id)


def cors_lines(state: State, request: Request) -> bytes:
    """What an answer of the API says to browsers; nothing for pages, which are for their own origin."""
    return state.cors.lines(request.fields.get(b"origin")) if _classify(request).is_own else b""


def _classify(request: Request) -> Target:
    """Of a request that is refused, too: its target may be of any length, and `classify` remembers what it is given."""
    return classify(request.target[:MAX_TARGET_BYTES])


def _answer_preflight(front: Connection, request: Request) -> None:
    request_id = _request_id(request, new_id())
    try:
        lines = front.state.cors.preflight(request.fields)
    except Problem as problem:
        refuse(front, request, problem)
        return
    keeps = front.keeps_alive()
    ending = b"" if keeps else b"connection: close\r\n"
    lines += cors_lines(front.state, request)
    data = b"%bx-request-id: %b\r\n%b%b\r\n" % (status_line(204), request_id.encode(), lines, ending)
    front.write(data)
    front.state.access_log.add(plain_line(request, request_id, front.client, 204, 0.0, len(data)))
    front.response_complete(keeps)


def _answer_models(front: Connection, request: Request, target: Target) -> None:
    request_id = _request_id(request, new_id())
    try:
        headers = cors_lines(front.state, request)
        data = models_list.answer(front.state.directory, request, target, request_id, front.keeps_alive(), headers)
    except Problem as problem:
        refuse(front, request, problem)
        return
    keeps = front.keeps_alive()
    front.write(data)
    front.state.access_log.add(plain_line(request, request_id, front.client, 200, 0.0, len(data)))
    front.response_complete(keeps)


def _nowhere(target: Target) -> Problem:
    if target.kind is Kind.MALFORMED:
        return Problem(400, "bad_target", "The request target must be a path that begins with /", close=True)
    if target.kind is Kind.HIDDEN:
        return Problem(404, "not_found", "There is nothing here")
    offered = ", ".join(sorted(ENDPOINTS | {"models"}))
    path, right = target.path[:200], target.right_path
    advice = f"use {right}; " if right else ""
    return Problem(404, "unknown_endpoint", f"{path} is not an endpoint: {advice}below /v1/ there are: {offered}")


def _request_id(request: Request, record_id: str) -> str:
    given = request.fields.get(b"x-request-id")
    if given is not None and _GIVEN_ID.match(given):
        return given.decode()
    return record_id
