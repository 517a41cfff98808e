"""The REST API under /api/v1/: one router per subject, one shape of errors, one table of status codes."""

import logging
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import RequestDataTooBig
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from webapp.foundation import body_limit
from webapp.foundation.errors import ServiceError
from webapp.interfaces.api.accounts.admin import router as administration
from webapp.interfaces.api.accounts.router import router as accounts
from webapp.interfaces.api.accounts.teams import router as teams
from webapp.interfaces.api.callers import DOORS
from webapp.interfaces.api.catalog.router import router as catalog
from webapp.interfaces.api.changes import router as changes
from webapp.interfaces.api.deployments.router import router as deployments
from webapp.interfaces.api.description import complete
from webapp.interfaces.api.inventory.router import router as inventory
from webapp.interfaces.api.jobs.router import router as jobs
from webapp.interfaces.api.once import once
from webapp.interfaces.api.operations.router import router as attention
from webapp.interfaces.api.parsing import StrictParser
from webapp.interfaces.api.problems import PREFIX, problem
from webapp.interfaces.api.quantisation.router import router as quantisation
from webapp.interfaces.api.samples.router import router as samples
from webapp.interfaces.api.schedules.router import router as schedules
from webapp.interfaces.api.schedules.targets import router as notification_targets
from webapp.interfaces.api.usage.router import router as usage

logger = logging.getLogger(__name__)

# One line per subject: what its routes are about.
TAGS = [
    {"name": "accounts", "description": "Users, teams and API keys."},
    {"name": "teams", "description": "Teams, their members, invitations and service keys."},
    {"name": "administration", "description": "For the admins of this Modelyard: people, sign-in, the audit log."},
    {"name": "hosts", "description": "Machines with Docker, their accelerators and how much of them is reserved."},
    {"name": "models", "description": "The catalogue: models and their files. Sizes are bytes."},
    {
        "name": "jobs",
        "description": "Long work in containers: imports and downloads with steps, progress and a result.",
    },
    {
        "name": "quantisation",
        "description": "Smaller files made of an artifact, and the evaluation of their quality and speed.",
    },
    {
        "name": "schedules",
        "description": "Scheduled quantisation with quality gates, rollouts of the result, and notifications.",
    },
    {
        "name": "deployments",
        "description": "Models served under a name. Changes are asynchronous and answered with 202: read the "
        "deployment again, or follow /changes.",
    },
    {"name": "usage", "description": "Requests and tokens by team, user, key, deployment and day."},
    {"name": "samples", "description": "Resource use of hosts, accelerators and replicas over time."},
    {"name": "attention", "description": "What needs attention: Home's list for programs."},
    {"name": "changes", "description": "What has changed since you last asked."},
]


DESCRIPTION = """Place, run, watch and proxy large language models on your own machines.

**Authentication**: send an API key as `Authorization: Bearer`, `X-API-Key` or `api-key`. Reading requires the scope
`read`, changing requires `manage`.

**Lists** are paginated: `limit`, `offset`, and `count` in the response.

**Asynchronous actions** (start, stop, deploy) are answered with 202 Accepted: workers carry them out, and `state` shows
the progress.

**Errors** are problem documents (RFC 9457): `title` says what happened, `detail` what to do next, `errors` which field,
`request_id` what to quote.

**Retries** are safe with an `Idempotency-Key`: within 24 hours the same key and request give the same response, and
the change is made once. A refused request changes nothing and is not remembered."""


class YardAPI(NinjaAPI):
    """ninja's API with our conventions for every route: names, errors, idempotency."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        # Replaced by `complete`, which sees all paths; only unique is needed here, of endpoints of one function too.
        return f"{operation.view_func.__module__}.{operation.view_func.__name__}.{id(operation)}"

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        schema = super().get_openapi_schema(path_prefix=path_prefix or PREFIX, path_params=path_params)
        complete(schema, PREFIX, TAGS)
        return schema


api = YardAPI(
    title="Modelyard",
    version="1",
    description=DESCRIPTION,
    auth=DOORS,
    urls_namespace="api",
    docs_url="/docs",
    docs_decorator=login_required,
    parser=StrictParser(),
)
api.add_decorator(once, mode="view")
api.add_router("", accounts)
api.add_router("", teams)
api.add_router("", administration)
api.add_router("", inventory)
api.add_router("", catalog)
api.add_router("", jobs)
api.add_router("", quantisation)
api.add_router("", schedules)
api.add_router("", notification_targets)
api.add_router("", deployments)
api.add_router("", changes)
api.add_router("", attention)
api.add_router("", usage)
api.add_router("", samples)


@api.exception_handler(ServiceError)
def _refused(request: HttpRequest, error: ServiceError) -> HttpResponse:
    return problem(request, error.status, error.what, error.advice, errors=error.fields)


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    response = problem(
        request, 401, "No valid API key.", "Create one on the page API keys and send it as a Bearer token."
    )
    response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(Http404)
def _absent(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(request, 404, "Not found, or you don't have access.")


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = {".".join(str(part) for part in found["loc"][1:]): found["msg"] for found in error.errors}
    return problem(request, 422, "Validation failed.", "; ".join(f"{k}: {v}" for k, v in fields.items()), errors=fields)


@api.exception_handler(DataError)
@api.exception_handler(OverflowError)
def _beyond(request: HttpRequest, error: Exception) -> HttpResponse:
    """The net below the fields' own limits (fields.py): the database refused, and nothing was changed."""
    logger.warning("a value got as far as the database on %s %s: %s", request.method, request.path, error)
    return problem(request, 422, "A value is out of range.")


@api.exception_handler(RequestDataTooBig)
def _too_big(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return problem(request, 413, body_limit.TITLE, body_limit.ADVICE)


@api.exception_handler(HttpError)
def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, ValidationError):  # the body can be read but holds what nothing can keep
        return _invalid(request, error.__cause__)
    if error.status_code == 400 and error.__cause__ is not None:
        return problem(request, 400, "The body is not JSON.", str(error.__cause__)[:300])
    return problem(request, error.status_code, str(error))


@api.exception_handler(Exception)
def _broken(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.exception("the API failed on %s %s", request.method, request.path)
    return problem(request, 500, "Internal server error.", "Search the log of `web` for the request ID.")
