"""One question to every app: what is called like this? Each answers with a few things this person may see."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse
from django.utils.http import urlencode

from webapp.accounts.models import ApiKey, User
from webapp.catalog.models import CatalogModel
from webapp.deployments.models import Deployment
from webapp.foundation.search import filter_rows
from webapp.foundation.text import words
from webapp.interfaces.pages.dashboard import help_pages
from webapp.inventory.models import Host
from webapp.jobs.models import Job

# Of each kind; its list has the rest.
MOST = 8


@dataclass(frozen=True)
class Hit:
    title: str
    url: str
    about: str = ""
    state: str = ""


@dataclass(frozen=True)
class Group:
    """What one app found; `more` is the address of all of it when there is more than is shown."""

    title: str
    hits: tuple[Hit, ...]
    more: str = ""


def find(user: User, text: str) -> list[Group]:
    """Groups with at least one hit. Every word must be found in something that a thing is known by.

    One query per app, whatever the number of rows (deployments: two more for their replicas).
    """
    q = " ".join(words(text))
    if not q:
        return []
    groups = []
    for title, ask, everything in _KINDS:
        hits = ask(user, q)
        if hits:
            more = f"{reverse(everything)}?{urlencode({'q': q})}" if len(hits) > MOST else ""
            groups.append(Group(title, tuple(hits[:MOST]), more))
    return groups


def _deployments(user: User, q: str) -> list[Hit]:
    rows = filter_rows(Deployment.objects.visible_to(user), q).for_list().distinct()[: MOST + 1]
    return [Hit(row.name, reverse("deployments:detail", args=[row.pk]), str(row.artifact), row.state) for row in rows]


def _models(user: User, q: str) -> list[Hit]:
    rows = filter_rows(CatalogModel.objects.visible_to(user), q).order_by("name")[: MOST + 1]
    return [Hit(row.name, reverse("catalog:detail", args=[row.slug]), row.architecture) for row in rows]


def _hosts(user: User, q: str) -> list[Hit]:
    rows = filter_rows(Host.objects.visible_to(user), q).order_by("name")[: MOST + 1]
    return [Hit(row.name, reverse("inventory:detail", args=[row.pk]), row.endpoint, row.state) for row in rows]


def _jobs(user: User, q: str) -> list[Hit]:
    rows = filter_rows(Job.objects.visible_to(user), q).for_list().distinct()[: MOST + 1]
    return [
        Hit(f"{row.title} #{row.pk}", reverse("jobs:detail", args=[row.pk]), str(row.artifact or ""), row.state)
        for row in rows
    ]


def _keys(user: User, q: str) -> list[Hit]:
    rows = filter_rows(ApiKey.objects.visible_to(user), q).for_list()[: MOST + 1]
    listed = reverse("accounts:keys")
    return [Hit(row.name, f"{listed}?q={row.prefix}", f"{row.prefix}… of team {row.team.name}") for row in rows]


def _help(user: User, q: str) -> list[Hit]:
    return [
        Hit(page.title, reverse("dashboard:help_page", args=[page.slug]), page.summary)
        for page in help_pages.find(words(q))[: MOST + 1]
    ]


_KINDS: tuple[tuple[str, Callable[[User, str], list[Hit]], str], ...] = (
    ("Deployments", _deployments, "deployments:index"),
    ("Models", _models, "catalog:index"),
    ("Hosts", _hosts, "inventory:index"),
    ("Jobs", _jobs, "jobs:index"),
    ("API keys", _keys, "accounts:keys"),
    ("Help", _help, "dashboard:help"),
)
