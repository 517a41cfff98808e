"""What people call the numbers in a report. What has been deleted keeps its number."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from webapp.accounts.models import ApiKey, Team, User
from webapp.deployments.models import Deployment
from webapp.usage.models import Rollup

# Where a sum, and a record, keeps the number.
COLUMNS = {"team": "team_id", "person": "user_id", "key": "key_id", "deployment": "deployment_id"}
NOBODY = {"team": "no team", "person": "no user", "key": "playground", "deployment": "no deployment"}


@dataclass(frozen=True)
class Label:
    """`key` is the number (or day, or endpoint) that is named; `detail` tells two of the same name apart."""

    text: str
    key: Any
    detail: str = ""
    url: str = ""

    @property
    def order(self) -> tuple[str, str, str]:
        """By name, days by date."""
        return (self.text.lower(), self.detail.lower(), str(self.key))


def labels(user: User, group: str, keys: Iterable[Any]) -> dict[Any, Label]:
    """A label for every key, in at most two queries."""
    keys = list(keys)
    if group == "day":
        return {key: Label(_day(key), key) for key in keys}
    if group == "endpoint":
        return {key: Label(key or "unknown", key) for key in keys}
    known = _NAMES[group](user, [key for key in keys if key])
    return {key: known.get(key) or Label(gone(group, key), key) for key in keys}


def asked_for(user: User, group: str, number: int) -> str:
    """The number that a filter asks for, in words where the person may know them: nobody reads names by counting."""
    told = Rollup.objects.visible_to(user).filter(**{COLUMNS[group]: number})
    if not number or told.exists() or _OWN[group](user).filter(pk=number).exists():
        return labels(user, group, [number])[number].text
    return f"#{number}"


def gone(group: str, number: int | None) -> str:
    """What stands for a row that is not there (any more)."""
    return f"deleted {group} #{number}" if number else NOBODY[group]


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _teams(user: User, numbers: list[int]) -> dict[int, Label]:
    return {team.pk: Label(team.name, team.pk) for team in Team.objects.filter(pk__in=numbers)}


def _people(user: User, numbers: list[int]) -> dict[int, Label]:
    return {row.pk: Label(row.username, row.pk) for row in User.objects.filter(pk__in=numbers).only("username")}


def _keys(user: User, numbers: list[int]) -> dict[int, Label]:
    return {key.pk: Label(key.name, key.pk, f"{key.prefix}…") for key in ApiKey.objects.filter(pk__in=numbers)}


def _deployments(user: User, numbers: list[int]) -> dict[int, Label]:
    """With the team behind it; a link only where the person may follow it."""
    seen = set(Deployment.objects.visible_to(user).filter(pk__in=numbers).values_list("pk", flat=True))
    rows = Deployment.objects.filter(pk__in=numbers).select_related("team").only("name", "team__name")
    return {
        row.pk: Label(
            row.name, row.pk, row.team.name, reverse("deployments:detail", args=[row.pk]) if row.pk in seen else ""
        )
        for row in rows
    }


_NAMES = {"team": _teams, "person": _people, "key": _keys, "deployment": _deployments}
_OWN: dict[str, Callable[[User], QuerySet[Any]]] = {
    "team": lambda user: Team.objects.visible_to(user),
    "person": lambda user: User.objects.filter(memberships__team__in=Team.objects.visible_to(user)),
    "key": lambda user: ApiKey.objects.filter(team__in=Team.objects.visible_to(user)),
    "deployment": lambda user: Deployment.objects.visible_to(user),
}
