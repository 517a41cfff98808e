"""Which topics a page may follow, who may follow them, and what is sent when one has changed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, QueryDict
from django.template.loader import render_to_string
from django.utils.module_loading import import_string

from webapp import following
from webapp.accounts import sign_in
from webapp.accounts.models import User
from webapp.deployments import logs
from webapp.deployments import views as deployments
from webapp.deployments.models import Deployment, Replica
from webapp.foundation.text import parse_id
from webapp.inventory import views as inventory
from webapp.inventory.models import Host
from webapp.jobs import logs as job_logs
from webapp.jobs import views as jobs
from webapp.jobs.models import Job
from webapp.log_text import Piece, Place
from webapp.schedules import views as schedules
from webapp.schedules.models import Schedule

# What a panel function returns: the template and what it is filled with.
Panel = tuple[str, dict[str, Any]]


@dataclass
class Subscription:
    """What one socket follows. `last` is what its page shows of each topic; `view` the page's own query string."""

    topics: tuple[str, ...]
    last: dict[str, str]
    page: str = ""
    view: QueryDict = field(default_factory=QueryDict)

    @classmethod
    def parse(cls, query: bytes) -> "Subscription | None":
        """From `topics=a,b&last=3,4&page=home&view=q%3Dx`; None when it makes no sense."""
        asked = QueryDict(query)
        topics = tuple(dict.fromkeys(name for name in asked.get("topics", "").split(",") if name))
        if not topics or len(topics) > following.MAX_TOPICS or not all(known(name) for name in topics):
            return None
        last = asked.get("last", "").split(",")
        seen = dict(zip(topics, last, strict=False))
        return cls(topics, seen, asked.get("page", ""), QueryDict(asked.get("view", "")[:500]))

    def show(self, view: str) -> None:
        """The page's list was searched, sorted or turned over: render that from here on."""
        self.view = QueryDict(view.lstrip("?")[:500])


@dataclass(frozen=True)
class Look:
    """What there is to send: HTML for the page, text for its logs, and the versions the page shows afterwards."""

    html: str = ""
    texts: tuple[dict[str, Any], ...] = ()
    last: dict[str, str] = field(default_factory=dict)
    # Text that is waiting: look again at once.
    more: tuple[str, ...] = ()


class SignedOut(Exception):
    """The session has ended, or it lets its person do nothing before a second factor is set up."""


class Gone(Exception):
    """A topic is not there any more, or not for this person."""


def known(topic: str) -> bool:
    kind, _, key = topic.partition(":")
    return kind in _MAY_FOLLOW and (parse_id(key) is not None or (kind, key) in _WITHOUT_ID)


def may_follow(user: User, topic: str) -> bool:
    """Whether this is a topic of ours, and its subject the person's to see."""
    kind, _, key = topic.partition(":")
    return known(topic) and _MAY_FOLLOW[kind](user, key)


def check(session_key: str, topics: Iterable[str]) -> User:
    """The person behind the session, if everything may still be followed. Raises SignedOut or Gone."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    # What is asked here reads nothing of the request but the session and the user.
    request = cast(HttpRequest, SimpleNamespace(session=session))
    user = get_user(request)
    if not isinstance(user, User):
        raise SignedOut
    request.user = user
    if not sign_in.lets_in(request):
        raise SignedOut
    for topic in topics:
        kind, _, key = topic.partition(":")
        if not _MAY_FOLLOW[kind](user, key):
            raise Gone(topic)
    return user


def look(session_key: str, subscription: Subscription, forced: Iterable[str] = ()) -> Look:
    """Check, compare and render: what has changed since `last`, and `forced` topics in any case.

    Versions are read before the rows, so a change in between is sent twice rather than never.
    """
    user = check(session_key, subscription.topics)
    numbers = following.versions(name for name in subscription.topics if not _is_log(name))
    forced = set(forced)
    changed = [name for name, number in numbers.items() if name in forced or subscription.last.get(name) != str(number)]
    html = "".join(
        render_to_string(template, {**context, "oob": True, "user": user})
        for template, context in _panels(user, subscription, changed)
    )
    last = {name: str(numbers[name]) for name in changed}
    texts, more = [], []
    for name in subscription.topics:
        if _is_log(name):
            piece = _log(name, subscription.last.get(name, ""))
            if piece is not None:
                texts.append({"id": name, "text": piece.text, "fresh": piece.fresh})
                last[name] = str(piece.place)
                more += [name] if piece.more else []
    return Look(html, tuple(texts), last, tuple(more))


def gone_html() -> str:
    """What the page shows when its subject has gone."""
    return render_to_string("_gone.html", {"oob": True})


def _panels(user: User, subscription: Subscription, changed: list[str]) -> list[Panel]:
    if not changed:
        return []
    if subscription.page in _PAGES:
        panel: Callable[[User, QueryDict], Panel] = import_string(_PAGES[subscription.page])
        return [panel(user, subscription.view)]
    panels: dict[str, Panel] = {}
    for name in changed:
        kind, _, key = name.partition(":")
        # Several teams' lists are one panel.
        label = kind if kind in _LISTS else name
        if label not in panels:
            panels[label] = _LISTS[kind](user, subscription.view) if kind in _LISTS else _DETAILS[kind](user, int(key))
    return list(panels.values())


def _is_log(topic: str) -> bool:
    return topic.partition(":")[0] in _LOGS


def _log(topic: str, last: str) -> Piece | None:
    kind, _, key = topic.partition(":")
    return _LOGS[kind](int(key), Place.parse(last))


def _replica_log(pk: int, seen: Place) -> Piece | None:
    replica = Replica.objects.filter(pk=pk).first()
    return logs.since(replica, seen) if replica else None


def _job_log(pk: int, seen: Place) -> Piece | None:
    job = Job.objects.filter(pk=pk).first()
    return job_logs.since(job, seen) if job else None


# Sent as text with a place of their own, never as a rendered part of the page.
_LOGS: dict[str, Callable[[int, Place], Piece | None]] = {"replica-log": _replica_log, "job-log": _job_log}


def _is_in(user: User, team: str) -> bool:
    return user.is_superuser or (team.isdigit() and user.memberships.filter(team_id=int(team)).exists())


_MAY_FOLLOW: dict[str, Callable[[User, str], bool]] = {
    "deployments": _is_in,
    "jobs": _is_in,
    "deployment": lambda user, key: Deployment.objects.visible_to(user).filter(pk=key).exists(),
    "replica-log": lambda user, key: Replica.objects.visible_to(user).filter(pk=key).exists(),
    "schedules": _is_in,
    "schedule": lambda user, key: Schedule.objects.visible_to(user).filter(pk=key).exists(),
    "job": lambda user, key: Job.objects.visible_to(user).filter(pk=key).exists(),
    "job-log": lambda user, key: Job.objects.visible_to(user).filter(pk=key).exists(),
    "host": lambda user, key: Host.objects.visible_to(user).filter(pk=key).exists(),
    "hosts": lambda user, key: True,
}
_WITHOUT_ID = {("hosts", ""), ("jobs", "all")}
_LISTS: dict[str, Callable[[User, QueryDict], Panel]] = {
    "deployments": deployments.list_panel,
    "jobs": jobs.list_panel,
    "schedules": schedules.list_panel,
    "hosts": inventory.list_panel,
}
_DETAILS: dict[str, Callable[[User, int], Panel]] = {
    "deployment": deployments.detail_panel,
    "job": jobs.detail_panel,
    "schedule": schedules.detail_panel,
    "host": inventory.detail_panel,
}
# By name: the dashboard stands beside this room, not below it.
_PAGES = {
    "home": "webapp.dashboard.views.home_panel",
    "playground": "webapp.dashboard.views.playground_panel",
}
