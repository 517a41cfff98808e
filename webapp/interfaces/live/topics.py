"""What is sent to a page when a topic that it follows has changed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, QueryDict
from django.template.loader import render_to_string

from webapp.accounts import sign_in
from webapp.accounts.models import User
from webapp.deployments import logs
from webapp.deployments.models import Replica
from webapp.foundation.log_text import Piece, Place
from webapp.interfaces.kit import following
from webapp.interfaces.kit.topics import is_known, may_follow
from webapp.interfaces.pages.dashboard import views as dashboard
from webapp.interfaces.pages.deployments import views as deployments
from webapp.interfaces.pages.inventory import views as inventory
from webapp.interfaces.pages.jobs import views as jobs
from webapp.interfaces.pages.schedules import views as schedules
from webapp.jobs import logs as job_logs
from webapp.jobs.models import Job

# What a panel function returns: the template and what it is filled with.
Panel = tuple[str, dict[str, Any]]


@dataclass
class Subscription:
    """What one socket follows. `last` is what its page shows of each topic; `view` the page's own query string; with
    `acks` the page says when it shows what it was sent."""

    topics: tuple[str, ...]
    last: dict[str, str]
    page: str = ""
    view: QueryDict = field(default_factory=QueryDict)
    acks: bool = False

    @classmethod
    def parse(cls, query: bytes) -> "Subscription | None":
        """From `topics=a,b&last=3,4&page=home&view=q%3Dx&acks=1`; None when it makes no sense."""
        asked = QueryDict(query)
        topics = tuple(dict.fromkeys(name for name in asked.get("topics", "").split(",") if name))
        if not topics or len(topics) > following.MAX_TOPICS or not all(is_known(name) for name in topics):
            return None
        last = asked.get("last", "").split(",")
        seen = dict(zip(topics, last, strict=False))
        view = QueryDict(asked.get("view", "")[:500])
        return cls(topics, seen, asked.get("page", ""), view, asked.get("acks") == "1")

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


def check(session_key: str, topics: Iterable[str]) -> User:
    """The person behind the session, if everything may still be followed. Raises SignedOut or Gone."""
    session = SessionStore(session_key)
    # What is asked here reads nothing of the request but the session and the user.
    request = cast(HttpRequest, SimpleNamespace(session=session))
    user = get_user(request)
    if not isinstance(user, User):
        raise SignedOut
    request.user = user
    if not sign_in.lets_in(request):
        raise SignedOut
    for topic in topics:
        if not may_follow(user, topic):
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
        return [_PAGES[subscription.page](user, subscription.view)]
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
_PAGES: dict[str, Callable[[User, QueryDict], Panel]] = {
    "home": dashboard.home_panel,
    "playground": dashboard.playground_panel,
}
