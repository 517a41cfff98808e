"""From the words in an address to a question: the same for page, CSV and API."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.accounts.teams import teams_of
from webapp.foundation.errors import Invalid
from webapp.foundation.text import clean_text, parse_id
from webapp.usage import ranges
from webapp.usage.reports import GROUPS, SORTS, Question

FILTERS = ("team", "person", "key", "deployment")
DEFAULT_RANGE, DEFAULT_GROUP = "7d", "deployment"


def question(user: User, asked: Mapping[str, Any], today: date | None = None) -> Question:
    """What `asked` (range, from, to, group, team, person, key, deployment, q, sort) wants to know.

    Raises Invalid with the field that makes no sense.
    """
    group = str(asked.get("group") or DEFAULT_GROUP)
    if group not in GROUPS:
        raise _invalid("group", f"There is no group {group!r}. Choose among {', '.join(GROUPS)}.")
    sort = str(asked.get("sort") or "")
    if sort.removeprefix("-") not in SORTS:
        sort = "-name" if group == "day" else "-tokens"
    return Question(
        range=_range(asked, today or timezone.now().date()),
        group=group,
        filters=filters(user, asked),
        q=clean_text(asked.get("q")),
        sort=sort,
    )


def filters(user: User, asked: Mapping[str, Any]) -> dict[str, int]:
    """Which numbers are asked for; a team goes by its slug. Raises Invalid."""
    found: dict[str, int] = {}
    for name in FILTERS:
        text = str(asked.get(name) or "")
        if not text:
            continue
        pk = parse_id(text)
        if pk is not None:
            found[name] = pk
        elif name == "team":
            found[name] = _team(user, text).pk
        else:
            raise _invalid(name, f"The {name} is asked for by its number, not {text!r}.")
    return found


def _team(user: User, slug: str) -> Team:
    for team in teams_of(user):
        if team.slug == slug:
            return team
    raise _invalid("team", f"You are in no team {slug!r}.")


def _range(asked: Mapping[str, Any], today: date) -> ranges.Range:
    first, last = _day(asked, "from"), _day(asked, "to")
    name = str(asked.get("range") or ("custom" if first or last else DEFAULT_RANGE))
    try:
        return ranges.between(name, today, first, last)
    except ValueError as error:
        raise _invalid("range", str(error)) from None


def _day(asked: Mapping[str, Any], name: str) -> date | None:
    value = asked.get(name)
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)) if str(value) else None
    except ValueError:
        raise _invalid(name, f"{value!r} is no day; write it as 2026-01-31.") from None


def _invalid(field: str, text: str) -> Invalid:
    return Invalid(text, fields={field: text})
