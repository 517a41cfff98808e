"""Errors as RFC 9457 shapes them: what happened, what to do next, and an id to quote."""

import json
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse

PROBLEM = "application/problem+json"
PREFIX = "/api/v1/"

# What a route may answer with besides what it promises.
MEANINGS = {
    400: "The request is malformed.",
    401: "No valid API key.",
    403: "The key or the user is not allowed to do this.",
    404: "Not found, or you don't have access.",
    405: "Method not allowed.",
    409: "Conflict with the current state.",
    413: "The request is too large.",
    422: "Validation failed; `errors` names the fields.",
    429: "Too many requests; try again later.",
    500: "Internal server error; the log has the request ID.",
    503: "A service that Modelyard needs is down; try again.",
}

# The description of a problem, for the OpenAPI file.
SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "title": "Type", "description": "`about:blank`: the status says the kind"},
        "title": {"type": "string", "title": "Title", "description": "what happened"},
        "status": {"type": "integer", "title": "Status"},
        "detail": {"type": "string", "title": "Detail", "description": "what to do next; may be empty"},
        "request_id": {"type": "string", "title": "Request Id", "description": "quote it when you ask for help"},
        "errors": {
            "type": "object",
            "title": "Errors",
            "description": "a message per field",
            "additionalProperties": {"type": "string"},
        },
    },
    "examples": [
        {
            "type": "about:blank",
            "title": "The team has a deployment named chat already.",
            "status": 409,
            "detail": "Choose another name, or delete the other one first.",
            "request_id": "0f8e1c2d3b4a59687766554433221100",
            "errors": {"name": "The team has a deployment named chat already."},
        }
    ],
}


def problem(request: HttpRequest, status: int, title: str, detail: str = "", **more: Any) -> HttpResponse:
    """The error `title` with the advice `detail`; `more` are further members such as `errors`."""
    identity = request.headers.get("X-Request-ID", "")[:80] or uuid.uuid4().hex
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": identity, **more}
    return HttpResponse(json.dumps(body), status=status, content_type=PROBLEM)


class ProblemMiddleware:
    """Gives the API's shape to what is refused before or beside its routes: unknown addresses and methods, bodies
    that are too large, hosts that are not ours."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code < 400 or not request.path.startswith(PREFIX) or _is_shaped(response):
            return response
        status = response.status_code
        title = MEANINGS.get(status) or HTTPStatus(status).phrase
        shaped = problem(request, status, title, _advice(status))
        for name in ("Allow", "Retry-After", "WWW-Authenticate"):
            if name in response.headers:
                shaped.headers[name] = response.headers[name]
        return shaped


def _is_shaped(response: HttpResponse) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith(PROBLEM)


def _advice(status: int) -> str:
    return "All endpoints are documented at /api/v1/docs." if status in (404, 405) else ""
