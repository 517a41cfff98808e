"""REST endpoints of usage."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.usage.schemas import (
    CountedRefusalsOut,
    RefusalQuery,
    RequestQuery,
    RequestsOut,
    UsageOut,
    UsageQuery,
)
from webapp.interfaces.kit.usage_csv import csv_response
from webapp.usage import asking, refusals, requests
from webapp.usage.reports import Question, Row, report

router = Router(tags=["usage"])


@router.get("/usage", response=UsageOut, summary="Report requests and tokens by team, user, key, deployment or day")
def read_usage(request: HttpRequest, asked: Query[UsageQuery]) -> dict[str, Any]:
    question = _question(request, asked)
    found = report(caller(request), question)
    return {
        "first": question.range.first,
        "last": question.range.last,
        "group": question.group,
        "items": [_row(row) for row in found.rows],
        "total": _row(found.total),
    }


@router.get(
    "/usage.csv",
    summary="Export the usage report as CSV",
    openapi_extra={
        "responses": {200: {"description": "OK", "content": {"text/csv": {"schema": {"type": "string"}}}}},
    },
)
def read_usage_csv(request: HttpRequest, asked: Query[UsageQuery]) -> HttpResponse:
    question = _question(request, asked)
    return csv_response(report(caller(request), question), question)


@router.get("/requests", response=RequestsOut, summary="List requests, newest first")
def list_requests(request: HttpRequest, asked: Query[RequestQuery]) -> dict[str, Any]:
    words = {**asked.dict(exclude_none=True), "q": asked.request_id}
    found = requests.page(requests.find(caller(request), words), asked.behind, asked.limit)
    return {"items": found.records, "older": found.older or None}


@router.get(
    "/refusals",
    response=CountedRefusalsOut,
    summary="Count requests refused before a model was known, by key and reason",
)
def list_refusals(request: HttpRequest, asked: Query[RefusalQuery]) -> dict[str, Any]:
    question = asking.question(caller(request), asked.dict(by_alias=True, exclude_none=True))
    found = refusals.find(caller(request), question.range, question.filters, asked.limit)
    return {"items": [_refused(row) for row in found.rows], "total": found.total}


def _refused(row: refusals.Row) -> dict[str, Any]:
    labels = {"team": row.team, "person": row.person, "key": row.key}
    return {
        "code": row.code,
        "status": row.status,
        "message": row.message,
        "endpoint": row.endpoint,
        **{name: label.key for name, label in labels.items()},
        "team_name": row.team.text if row.team.key else None,
        "username": row.person.text if row.person.key else None,
        "key_name": row.key.text if row.key.key else None,
        "count": row.count,
        "last_at": row.last_at,
        "request_id": row.request_id,
    }


def _question(request: HttpRequest, asked: UsageQuery) -> Question:
    return asking.question(caller(request), asked.dict(by_alias=True, exclude_none=True))


def _row(row: Row) -> dict[str, Any]:
    key = row.label.key
    return {
        "name": row.label.text,
        "detail": row.label.detail,
        "number": key if isinstance(key, int) and key else None,
        "requests": row.requests,
        "failed": row.failed,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "tokens": row.tokens,
    }
