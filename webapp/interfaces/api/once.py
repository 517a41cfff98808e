"""`Idempotency-Key`: a change that is sent twice is carried out once and answered twice."""

import functools
from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse

from webapp.foundation.errors import ServiceError
from webapp.idempotency import services
from webapp.interfaces.api.callers import SAFE_METHODS, caller, caller_key

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

Run = Callable[..., HttpResponse]


def once(run: Run) -> Run:
    """Wrap an operation's `run`. Without the header, and for reading, nothing changes."""
    operation = _operation(run)

    @functools.wraps(run)
    def run_once(request: HttpRequest, **values: Any) -> HttpResponse:
        key = request.headers.get(HEADER)
        if key is None or request.method in SAFE_METHODS:
            return run(request, **values)
        # Who asks comes first: an answer is only given again to the one who got it.
        refusal: HttpResponse | None = operation._run_checks(request)
        if refusal is not None:
            return refusal
        try:
            exchange, is_mine = services.claim(_caller(request), key, _fingerprint(request))
        except (ServiceError, RequestDataTooBig) as error:
            response: HttpResponse = operation.api.on_exception(request, error)
            return response
        if not is_mine:
            return _again(exchange)
        # What raises through here dies with the process: its claim stays, and its twin is told that it was cut off.
        response = run(request, **values)
        kind = response.headers.get("Content-Type", "")
        services.finish(exchange, response.status_code, kind, b"" if response.streaming else response.content)
        return response

    return run_once


def _again(exchange: Any) -> HttpResponse:
    status, content_type, body = services.answer(exchange)
    response = HttpResponse(body, status=status, content_type=content_type or None)
    response.headers[REPLAYED] = "true"
    return response


def _fingerprint(request: HttpRequest) -> str:
    return services.fingerprint(str(request.method), request.get_full_path(), request.body)


def _caller(request: HttpRequest) -> str:
    key = caller_key(request)
    return f"key:{key.pk}" if key is not None else f"user:{caller(request).pk}"


def _operation(run: Any) -> Any:
    """The operation behind `run`, however often it was wrapped before."""
    while not hasattr(run, "__self__"):
        run = run.__wrapped__
    return run.__self__
