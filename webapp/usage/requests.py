"""Single requests, newest first, to find out what went wrong. What was asked and answered is stored nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from webapp.accounts.models import User
from webapp.foundation.errors import Invalid
from webapp.foundation.text import clean_text
from webapp.usage import asking, naming
from webapp.usage.models import UsageRecord, UsageRecordQuerySet

PER_PAGE = 50
# Clients may choose ids, so several requests can have the same.
MOST_OF_ONE_ID = 200
# How far back it looks, further while it has not found enough.
WINDOWS = (timedelta(days=1, hours=1), timedelta(days=8), None)
# What the gateway writes of a request whose client went away; it is no failure.
CLIENT_LEFT = 499
OUTCOMES = {"failed": "Failed", "client_error": "Client errors", "ok": "Succeeded"}


@dataclass(frozen=True)
class Listed:
    """A page of requests; `older` is what the next page begins behind, "" on the last one."""

    records: list[UsageRecord]
    older: str


def find(user: User, asked: Mapping[str, Any]) -> UsageRecordQuerySet:
    """The requests that `asked` describes: team, person, key, deployment, outcome (of OUTCOMES), status, and q, a whole
    request id. Raises Invalid."""
    rows: UsageRecordQuerySet = UsageRecord.objects.all().visible_to(user)
    chosen = asking.filters(user, asked)
    rows = rows.filter(**{naming.COLUMNS[name]: number for name, number in chosen.items()})
    outcome, status, q = (clean_text(asked.get(name)) for name in ("outcome", "status", "q"))
    if outcome == "failed":
        rows = rows.failed()
    elif outcome == "client_error":
        rows = rows.mistaken()
    elif outcome == "ok":
        rows = rows.served()
    elif outcome:
        raise Invalid(f"There is no outcome {outcome!r}.", f"Choose among {', '.join(OUTCOMES)}.", {"outcome": outcome})
    if status:
        if not (status.isascii() and status.isdigit() and len(status) == 3):
            raise Invalid(f"{status!r} is no HTTP status.", "Write three digits, like 502.", {"status": status})
        rows = rows.filter(status=int(status))
        if int(status) >= 400 and int(status) != CLIENT_LEFT:
            rows = rows.filter(has_failed=True)  # said twice, because failures have an index
    return rows.filter(pk__in=_of_request(q)) if q else rows


def _of_request(request_id: str) -> list[UUID]:
    """The records of a whole request id. Read by itself: with other conditions beside it and an order to keep, a
    database takes another index and looks at millions."""
    return list(UsageRecord.objects.filter(request_id=request_id[:80]).values_list("pk", flat=True)[:MOST_OF_ONE_ID])


def page(rows: UsageRecordQuerySet, behind: str = "", per_page: int = PER_PAGE) -> Listed:
    """The newest requests, or those behind a place that an earlier page named; in at most three queries.

    Never counts them all, and sorts all of them only when they are few.
    """
    rows = rows.for_list()
    newest = timezone.now() + timedelta(days=1)  # a gateway's clock may be ahead
    place = _place(behind)
    if place is not None:
        newest, identity = place
        rows = rows.filter(at__lte=newest).filter(Q(at__lt=newest) | Q(at=newest, id__lt=identity))
    found: list[UsageRecord] = []
    for window in WINDOWS:
        part = rows if window is None else rows.filter(at__gte=newest - window)
        found = list(part[: per_page + 1])
        if len(found) > per_page:
            break
    has_more, found = len(found) > per_page, found[:per_page]
    return Listed(found, f"{found[-1].at.isoformat()}_{found[-1].pk.hex}" if has_more else "")


def _place(text: str) -> tuple[datetime, UUID] | None:
    at, _, identity = text.partition("_")
    try:
        moment = datetime.fromisoformat(at)
        is_sound = moment.tzinfo is not None and 1970 <= moment.year <= 9998  # windows are reckoned from it
        return (moment, UUID(identity)) if is_sound else None
    except ValueError:
        return None
