"""Single requests, newest first, to find out what went wrong. What was asked and answered is stored nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from webapp.accounts.models import User
from webapp.errors import Invalid
from webapp.usage import asking
from webapp.usage.models import UsageRecord, UsageRecordQuerySet

PER_PAGE = 50
OUTCOMES = {"failed": "Failed", "ok": "Served"}
_COLUMNS = {"team": "team_id", "person": "user_id", "key": "key_id", "deployment": "deployment_id"}


@dataclass(frozen=True)
class Listed:
    """A page of requests; `older` is what the next page begins behind, "" on the last one."""

    records: list[UsageRecord]
    older: str


def find(user: User, asked: Mapping[str, Any]) -> UsageRecordQuerySet:
    """The requests that `asked` describes: team, person, key, deployment, outcome (ok, failed), status, and
    q, a whole request id. Raises Invalid."""
    rows: UsageRecordQuerySet = UsageRecord.objects.all().visible_to(user)
    chosen = asking.filters(user, asked)
    rows = rows.filter(**{_COLUMNS[name]: number for name, number in chosen.items()})
    outcome, status, q = (str(asked.get(name) or "").strip() for name in ("outcome", "status", "q"))
    if outcome == "failed":
        rows = rows.failed()
    elif outcome == "ok":
        rows = rows.served()
    elif outcome:
        raise Invalid(f"There is no outcome {outcome!r}.", f"Choose among {', '.join(OUTCOMES)}.", {"outcome": outcome})
    if status:
        if not (status.isascii() and status.isdigit() and len(status) == 3):
            raise Invalid(f"{status!r} is no HTTP status.", "Write three digits, like 502.", {"status": status})
        rows = rows.filter(status=int(status))
    # Whole, because only that is found by an index among millions.
    return rows.filter(request_id=q[:80]) if q else rows


def page(rows: UsageRecordQuerySet, behind: str = "") -> Listed:
    """The newest requests, or those behind a place that an earlier page named; never counts them all."""
    rows = rows.for_list()
    place = _place(behind)
    if place is not None:
        at, identity = place
        rows = rows.filter(at__lte=at).filter(Q(at__lt=at) | Q(at=at, id__lt=identity))
    found = list(rows[: PER_PAGE + 1])
    has_more, found = len(found) > PER_PAGE, found[:PER_PAGE]
    return Listed(found, f"{found[-1].at.isoformat()}_{found[-1].pk.hex}" if has_more else "")


def _place(text: str) -> tuple[datetime, UUID] | None:
    at, _, identity = text.partition("_")
    try:
        moment = datetime.fromisoformat(at)
        return (moment, UUID(identity)) if moment.tzinfo is not None else None
    except ValueError:
        return None
