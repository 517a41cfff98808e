"""The REST API under /api/v1/: one router per room, one shape of errors, one table of status codes."""

import logging
import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from webapp.accounts.api import router as accounts
from webapp.accounts.callers import DOORS
from webapp.catalog.api import router as catalog
from webapp.deployments.api import router as deployments
from webapp.errors import Refused
from webapp.inventory.api import router as inventory
from webapp.jobs.api import router as jobs
from webapp.samples.api import router as samples
from webapp.usage.api import router as usage

logger = logging.getLogger(__name__)

api = NinjaAPI(
    title="Modelyard",
    version="1",
    description="Place, run, watch and proxy large language models on your own machines. "
    "Send an API key as `Authorization: Bearer`, `X-API-Key` or `api-key`.",
    auth=DOORS,
    urls_namespace="api",
    docs_url="/docs",
    docs_decorator=login_required,
)
api.add_router("", accounts)
api.add_router("", inventory)
api.add_router("", catalog)
api.add_router("", jobs)
api.add_router("", deployments)
api.add_router("", usage)
api.add_router("", samples)


def problem(request: HttpRequest, status: int, title: str, detail: str = "", **more: Any) -> HttpResponse:
    """An error as RFC 9457 shapes it, with what to do next and an id to quote."""
    identity = request.headers.get("X-Request-ID") or uuid.uuid4().hex
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": identity, **more}
    response = api.create_response(request, body, status=status)
    response["Content-Type"] = "application/problem+json"
    return response


@api.exception_handler(Refused)
def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return problem(request, error.status, error.what, error.advice, errors=error.fields)


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    response = problem(request, 401, "No valid API key.", "Create one on the page Keys and send it as a Bearer token.")
    response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(Http404)
def _absent(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(request, 404, "There is no such thing, or it is not yours to see.")


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = {".".join(str(part) for part in problem["loc"][1:]): problem["msg"] for problem in error.errors}
    return problem(
        request, 422, "Some values are not valid.", "; ".join(f"{k}: {v}" for k, v in fields.items()), errors=fields
    )


@api.exception_handler(HttpError)
def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem(request, error.status_code, str(error))


@api.exception_handler(Exception)
def _broken(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.exception("the API failed on %s %s", request.method, request.path)
    return problem(request, 500, "Modelyard failed on this request.", "Look for the request id in the log of `web`.")
