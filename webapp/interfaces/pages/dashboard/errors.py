"""Pages for what went wrong: what happened, what to do next, and an id to quote."""

import logging
import sys
import uuid

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

logger = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page(request, 400, "Bad request", "Go back to the previous page and try again.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    what = str(exception) or "You don't have permission to do this."
    return _page(request, 403, what, "Ask a team admin for the role that this needs.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page(
        request,
        404,
        "Page not found",
        "It may have been deleted, or it belongs to a team that you are not a member of.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    return _page(
        request,
        500,
        "Something went wrong",
        "Try again in a moment. If it keeps happening, give your administrator the request ID below.",
    )


def _page(request: HttpRequest, status: int, what: str, advice: str) -> HttpResponse:
    request_id = request.headers.get("X-Request-Id", "")[:80] or uuid.uuid4().hex
    if status >= 500:
        logger.error("request %s: %s %s failed", request_id, request.method, request.path, exc_info=sys.exc_info())
    context = {"status": status, "what": what, "advice": advice, "request_id": request_id}
    # The site's own context processors may be what broke: this page needs neither them nor the database.
    text = render_to_string("error.html", context)
    response = HttpResponse(text, status=status)
    response.headers["X-Request-Id"] = request_id
    return response
