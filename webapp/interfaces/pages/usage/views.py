"""Pages of usage: who used how much, and single requests. Prompts and answers are stored nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.http import urlencode

from webapp.accounts.models import User
from webapp.accounts.teams import teams_of
from webapp.foundation.errors import Invalid
from webapp.interfaces.kit.usage_csv import csv_response
from webapp.interfaces.kit.views import page_or_panel, person, view
from webapp.usage import asking, naming, ranges, refusals, requests
from webapp.usage.reports import GROUPS, Question, Report, Row, report
from webapp.usage.services import RECORDS_KEPT_DAYS

PER_PAGE = 25
WORDS = ("range", "from", "to", "group", "team", "person", "key", "deployment", "q", "sort")


@dataclass(frozen=True)
class Shown:
    """One page of a report's rows, and addresses that keep everything else that was asked."""

    page: Page[Row]
    asked: Mapping[str, str]
    question: Question

    @property
    def q(self) -> str:
        return self.question.q

    @property
    def sort(self) -> str:
        return self.question.sort

    def to(self, **changes: Any) -> str:
        words = {name: value for name, value in {**self.asked, **changes}.items() if value not in ("", None)}
        return "?" + urlencode(words)

    def to_sort(self, key: str) -> str:
        """Numbers begin with the biggest, names with A; a second click turns round."""
        first, second = (key, f"-{key}") if key == "name" else (f"-{key}", key)
        return self.to(sort=second if self.sort == first else first)

    @property
    def to_previous(self) -> str:
        return self.to(page=self.page.previous_page_number())

    @property
    def to_next(self) -> str:
        return self.to(page=self.page.next_page_number())

    @property
    def to_csv(self) -> str:
        return self.to()

    @property
    def without_filters(self) -> str:
        return self.to(**dict.fromkeys(asking.FILTERS, ""), q="")


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    panel, context = report_panel(person(request), request.GET)
    return page_or_panel(request, "usage/index.html", panel, context)


def report_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The report for page and htmx reply. What makes no sense is said, and the usual range shown."""
    words, complaint = _words(asked), ""
    try:
        question = asking.question(user, words)
    except Invalid as refusal:
        complaint, words = str(refusal), {}
        question = asking.question(user, words)
    found = report(user, question)
    shown = Shown(Paginator(found.rows, PER_PAGE).get_page(asked.get("page")), words, question)
    return "usage/_panel.html", {
        "report": found,
        "refused": refusals.find(user, question.range, question.filters),
        "listing": shown,
        "question": question,
        "complaint": complaint,
        "lines": [_line(shown, row, found) for row in shown.page],
        "ranges": ranges.NAMES,
        "groups": GROUPS,
        "heading": GROUPS[question.group],
        "filters": _filters(user, question.filters),
        "teams": teams_of(user),
        "chart": found.chart.as_json(),
    }


@dataclass(frozen=True)
class Line:
    """A row as it is shown."""

    row: Row
    share_percent: float
    to_days: str
    to_requests: str


def _line(shown: Shown, row: Row, found: Report) -> Line:
    group = shown.question.group
    whole = found.total.tokens
    share = 100 * row.tokens / whole if whole else 0.0
    if group not in asking.FILTERS or not row.label.key:
        return Line(row, share, "", "")
    chosen = {group: row.label.key}
    return Line(row, share, shown.to(**chosen, group="day", q="", sort=""), urlencode(chosen))


def _filters(user: User, filters: Mapping[str, int]) -> list[tuple[str, str]]:
    """The filters in words."""
    return [(GROUPS[name], naming.asked_for(user, name, number)) for name, number in filters.items()]


@view("GET")
def as_csv(request: HttpRequest) -> HttpResponse:
    """What the page shows with the same address, all pages of it."""
    try:
        question = asking.question(person(request), _words(request.GET))
    except Invalid as refusal:
        return HttpResponse(str(refusal), status=422, content_type="text/plain; charset=utf-8")
    return csv_response(report(person(request), question), question)


@view("GET")
def request_list(request: HttpRequest) -> HttpResponse:
    """Single requests, newest first."""
    user, asked = person(request), request.GET
    complaint = ""
    try:
        rows = requests.find(user, asked)
    except Invalid as refusal:
        complaint, asked = str(refusal), QueryDict()
        rows = requests.find(user, asked)
    listed = requests.page(rows, asked.get("behind", ""))
    words = {name: asked.get(name, "") for name in (*asking.FILTERS, "outcome", "status", "q") if asked.get(name)}
    context = {
        "listed": listed,
        "rows": [_named(record) for record in listed.records],
        "to_older": "?" + urlencode({**words, "behind": listed.older}) if listed.older else "",
        "is_later_page": bool(asked.get("behind")),
        "outcomes": requests.OUTCOMES,
        "asked": words,
        "filters": _filters(user, asking.filters(user, asked)),
        "complaint": complaint,
        "kept_days": RECORDS_KEPT_DAYS,
    }
    return page_or_panel(request, "usage/requests.html", "usage/_requests.html", context)


def _named(record: Any) -> dict[str, Any]:
    """A request with words for what has been deleted since."""
    return {
        "record": record,
        "key": f"{record.key.prefix}…" if record.key else naming.gone("key", record.key_id),
        "person": record.user.username if record.user else naming.gone("person", record.user_id),
        "deployment": record.deployment.name if record.deployment else naming.gone("deployment", record.deployment_id),
    }


def _words(asked: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(asked.get(name, "")) for name in WORDS if asked.get(name)}
