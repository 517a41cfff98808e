"""Requests refused before a deployment was known: stored as counts, told by reason and key."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from django.db import transaction
from django.db.models import Case, F, Field, Max, Sum, Value, When

from webapp.accounts.models import User
from webapp.foundation.text import clean_text
from webapp.usage import naming
from webapp.usage.incoming import MOST_ID, MOST_NUMBER
from webapp.usage.models import RefusalCount, RefusalCountQuerySet
from webapp.usage.naming import Label
from webapp.usage.ranges import Range

KIND = "refused"
MOST_ROWS = 50
_AT_ONCE = 100
_GROUP = ("code", "status", "endpoint", "team_id", "user_id", "key_id")
_GROWS = ("last_at", "message", "request_id", "count")


@dataclass(frozen=True)
class Row:
    """All refusals of one key for one reason; `message` and `request_id` are the latest one's."""

    code: str
    status: int
    endpoint: str
    team: Label
    person: Label
    key: Label
    count: int
    last_at: datetime
    message: str
    request_id: str


@dataclass(frozen=True)
class Found:
    """The most frequent reasons, the most frequent first, and how many refusals there were in all."""

    rows: list[Row]
    total: int


def accept(counts: Iterable[Mapping[str, Any]]) -> int:
    """Store counts as gateways tell them; one told again replaces what was told before. Returns how many came."""
    latest: dict[uuid.UUID, RefusalCount] = {}
    for count in counts:
        row = _read(count)
        if row is not None and (row.pk not in latest or latest[row.pk].count <= row.count):
            latest[row.pk] = row
    # In the order of ids, so that two transactions never wait for each other in a circle.
    rows = [latest[key] for key in sorted(latest)]
    with transaction.atomic():
        RefusalCount.objects.bulk_create(rows, batch_size=_AT_ONCE, ignore_conflicts=True)
        for start in range(0, len(rows), _AT_ONCE):
            _grow(rows[start : start + _AT_ONCE])
    return len(latest)


def _grow(rows: list[RefusalCount]) -> None:
    """Raise those that are behind. The database compares, under the row's lock: a message that was held up on its way,
    and comes when a later one is stored already, takes nothing back."""
    stored = RefusalCount.objects.filter(pk__in=[row.pk for row in rows])
    list(stored.select_for_update().order_by("pk").values_list("pk"))
    stored.update(**{name: _of_the_larger(rows, name) for name in _GROWS})


def _of_the_larger(rows: list[RefusalCount], name: str) -> Case:
    """The column's value where our count is larger than the stored one, else what is stored."""
    field = cast("Field[Any, Any]", RefusalCount._meta.get_field(name))
    cases = [When(pk=row.pk, count__lt=row.count, then=Value(getattr(row, name), output_field=field)) for row in rows]
    return Case(*cases, default=F(name))


def find(user: User, range: Range, filters: Mapping[str, int], most: int = MOST_ROWS) -> Found:
    """What was refused in these days as this person may see it, in the same few queries whatever there is.

    A question about one deployment has no answer here: it was not known.
    """
    if "deployment" in filters:
        return Found([], 0)
    rows: RefusalCountQuerySet = RefusalCount.objects.all().visible_to(user)
    rows = rows.filter(at__gte=range.begins_at, at__lt=range.ends_at)
    rows = rows.filter(**{naming.COLUMNS[name]: number for name, number in filters.items()})
    groups = list(
        rows.values(*_GROUP).annotate(times=Sum("count"), newest=Max("last_at")).order_by("-times", "code")[: most + 1]
    )
    is_all = len(groups) <= most
    total = sum(group["times"] for group in groups) if is_all else rows.aggregate(total=Sum("count"))["total"]
    groups = groups[:most]
    said = _latest(rows, [group["newest"] for group in groups])
    names = {
        kind: naming.labels(user, kind, {group[naming.COLUMNS[kind]] for group in groups})
        for kind in ("team", "person", "key")
    }
    return Found([_row(group, said, names) for group in groups], total)


def _latest(rows: RefusalCountQuerySet, moments: list[datetime]) -> dict[tuple[Any, ...], RefusalCount]:
    """The newest count of each group, by the group's values and its moment."""
    found = rows.filter(last_at__in=moments) if moments else ()
    return {(*(getattr(row, name) for name in _GROUP), row.last_at): row for row in found}


def _row(
    group: Mapping[str, Any], said: Mapping[tuple[Any, ...], RefusalCount], names: Mapping[str, Mapping[Any, Label]]
) -> Row:
    latest = said.get((*(group[name] for name in _GROUP), group["newest"]))
    return Row(
        code=group["code"],
        status=group["status"],
        endpoint=group["endpoint"],
        team=names["team"][group["team_id"]],
        person=names["person"][group["user_id"]],
        key=_key(group, names),
        count=group["times"],
        last_at=group["newest"],
        message=latest.message if latest else "",
        request_id=latest.request_id if latest else "",
    )


def _key(group: Mapping[str, Any], names: Mapping[str, Mapping[Any, Label]]) -> Label:
    """Without a person it was no key that is known here."""
    if group["user_id"] is None and group["key_id"] is None:
        return Label("no known key", None)
    return names["key"][group["key_id"]]


def _read(count: Mapping[str, Any]) -> RefusalCount | None:
    """The row, or None for what can not be stored at all."""
    try:
        row = RefusalCount(
            id=uuid.UUID(str(count["id"])),
            at=datetime.fromtimestamp(float(count["at"]), UTC),
            last_at=datetime.fromtimestamp(float(count["last_at"]), UTC),
            status=int(count["status"]),
            count=int(count["count"]),
            code=clean_text(count["code"])[:60],
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    if not 0 <= row.status <= 999 or not 0 < row.count <= MOST_NUMBER:
        return None
    for name in ("key", "user", "team"):
        number = count.get(name)
        setattr(row, f"{name}_id", number if type(number) is int and 0 <= number <= MOST_ID else None)
    row.endpoint = clean_text(count.get("endpoint"))[:60]
    row.message = clean_text(count.get("message"))[:300]
    row.request_id = clean_text(count.get("request_id"))[:128]
    return row
