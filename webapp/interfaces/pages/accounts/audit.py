"""The page of the audit log, and the same as CSV."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.dateparse import parse_date

from webapp.accounts.models import AuditEntry, AuditQuerySet, Team, User
from webapp.foundation.text import clean_text
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.views import page_or_panel, person, view

COLUMNS = ("at", "username", "team_name", "verb", "subject", "key_prefix", "address", "request_id", "detail")
FILTERS = ("verb", "person", "since", "until")


@view("GET")
def index(request: HttpRequest) -> HttpResponseBase:
    user = person(request)
    if not may_read(user):
        raise Http404
    rows = filtered(AuditEntry.objects.visible_to(user), request.GET).for_list()
    if request.GET.get("format") == "csv":
        return _csv(rows)
    asked = {name: clean_text(request.GET.get(name), 150) for name in FILTERS}
    found = listing(rows, request.GET, sorts={}, kept=asked)
    verbs = AuditEntry.objects.visible_to(user).order_by("verb").values_list("verb", flat=True).distinct()
    context = {
        "listing": found,
        "verbs": list(verbs),
        "asked": asked,
        "csv_url": f"{found.to_page(1)}&format=csv",
    }
    return page_or_panel(request, "audit/index.html", "audit/_list.html", context)


def may_read(user: User) -> bool:
    return user.is_superuser or Team.objects.governed_by(user).exists()


def filtered(rows: AuditQuerySet, asked: Any) -> AuditQuerySet:
    """By exact verb, exact user name, and days (both included, in UTC); what makes no sense is passed over."""
    if verb := clean_text(asked.get("verb"), 60):
        rows = rows.filter(verb=verb)
    if name := clean_text(asked.get("person"), 150):
        rows = rows.filter(username=name)
    since, until = (_midnight(asked.get(name)) for name in ("since", "until"))
    if since:
        rows = rows.filter(at__gte=since)
    if until:
        rows = rows.filter(at__lt=until + timedelta(days=1))
    return rows


def _midnight(text: str | None) -> datetime | None:
    try:
        day = parse_date(text or "")
    except ValueError:
        return None
    return datetime.combine(day, time(), UTC) if day and day.year < 9999 else None


def _csv(rows: AuditQuerySet) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        _lines(rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"},
    )


class _Echo:
    """What csv.writer writes to: gives each line back."""

    def write(self, line: str) -> str:
        return line


def _lines(rows: AuditQuerySet) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for values in rows.values_list(*COLUMNS).iterator(chunk_size=500):
        at, *words, detail = values
        yield writer.writerow([at.isoformat(), *map(_harmless, words), _harmless(json.dumps(detail))])


def _harmless(text: str) -> str:
    """A spreadsheet would calculate what begins like a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
