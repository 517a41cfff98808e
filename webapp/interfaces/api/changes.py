"""What has changed since somebody last asked: for programs that keep up with Modelyard without reading all of it.

Plain polling: an answer costs one indexed query, while a waiting request would hold a thread and a connection to the
database for as long as it waits.

Every subject (topic) has a number and the time of its last change. Times are not in the order of commits: a transaction
may become visible after another that was stamped later. The cursor therefore looks back LOOK_BACK and carries what it
has told of that window, so that nothing is missed and hardly anything told twice.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from django.db.models import Max, Q
from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Router, Schema

from webapp.accounts.models import User
from webapp.foundation.errors import Invalid
from webapp.foundation.events.models import Topic
from webapp.foundation.text import parse_id
from webapp.interfaces.api.callers import caller
from webapp.interfaces.kit.topics import may_follow

router = Router(tags=["changes"])

# Longer than any transaction that publishes (PostgreSQL ends waits for a lock after 5 s) and a difference of clocks.
LOOK_BACK = timedelta(seconds=10)
# The cursor travels in an address. What falls out of it is told again.
MOST_TOLD = 150
MOST_LOOKED_AT = 5000
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
# Lines of a log have a reader of their own.
NOT_TOLD = frozenset({"replica-log", "job-log"})


class SubjectChangeOut(Schema):
    kind: str = Field(description="`deployment`, `job`, `host` …; in the plural: the list of the team with that id")
    id: int | None
    version: int = Field(description="the number of this change of this subject")
    at: datetime


class ChangesOut(Schema):
    changes: list[SubjectChangeOut]
    cursor: str = Field(description="send it as `since` the next time")
    has_more: bool = Field(description="there is more right now")


@dataclass(frozen=True)
class Cursor:
    """Up to when the reader knows, and which versions it was told of the last seconds before.

    `resume` is the place inside a long answer that comes in pieces: (time, name) of the last subject looked at.
    """

    at: datetime
    told: dict[str, int]
    resume: tuple[datetime, str] | None = None

    def text(self) -> str:
        resume = [_micros(self.resume[0]), self.resume[1]] if self.resume else None
        raw = json.dumps([_micros(self.at), self.told, resume], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises Invalid for what was not made here."""
        try:
            at, told, resume = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if not isinstance(told, dict) or not all(isinstance(number, int) for number in told.values()):
                raise ValueError(told)
            return cls(_moment(at), told, None if resume is None else (_moment(resume[0]), _name(resume[1])))
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError, binascii.Error) as error:
            message = "Invalid cursor."
            advice = "Omit `since` to start from now, or send 0 for everything."
            raise Invalid(message, advice, {"since": message}) from error


def _micros(moment: datetime) -> int:
    return (moment - BEGINNING) // timedelta(microseconds=1)


def _moment(micros: Any) -> datetime:
    if not isinstance(micros, int) or not 0 <= micros < 10**17:
        raise ValueError(micros)
    return BEGINNING + timedelta(microseconds=micros)


def _name(text: Any) -> str:
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        raise ValueError(text)
    return text


@router.get("/changes", response=ChangesOut, summary="List changes since the last call")
def list_changes(
    request: HttpRequest,
    since: Annotated[
        str | None,
        Field(max_length=8000, description="the cursor of the last answer; 0: everything; absent: from now on"),
    ] = None,
    kind: Annotated[str | None, Field(max_length=40, description="only subjects of this kind")] = None,
    limit: Annotated[int, Field(ge=1, le=500, description="how many changes at most")] = 100,
) -> dict[str, Any]:
    """Ask, act on what is told, ask again with the new cursor: every second or two is fine.

    A change is told at least once, rarely twice (compare `version`); several changes of one subject are told as one.
    Only the subject is named: read it to see how it is now. A subject that is gone is told through its list.
    """
    if since is None:
        newest = Topic.objects.aggregate(newest=Max("changed_at"))["newest"] or BEGINNING
        found, cursor, _more = scan(caller(request), Cursor(newest, {}), MOST_LOOKED_AT, kind)
        return {"changes": [], "cursor": cursor.text(), "has_more": False}
    start = Cursor(BEGINNING, {}) if since == "0" else Cursor.parse(since)
    found, cursor, more = scan(caller(request), start, limit, kind)
    return {"changes": [_out(topic) for topic in found], "cursor": cursor.text(), "has_more": more}


def scan(user: User, start: Cursor, limit: int, kind: str | None = None) -> tuple[list[Topic], Cursor, bool]:
    """What this person may know of what changed after `start`, oldest first; where to go on; whether there is more."""
    rows = Topic.objects.order_by("changed_at", "name")
    if start.resume:
        at, name = start.resume
        rows = rows.filter(Q(changed_at__gt=at) | Q(changed_at=at, name__gt=name))
    else:
        rows = rows.filter(changed_at__gt=max(start.at, BEGINNING + LOOK_BACK) - LOOK_BACK)
    found: list[Topic] = []
    told = dict(start.told)
    last: Topic | None = None
    for number, topic in enumerate(rows[: MOST_LOOKED_AT + 1]):
        if len(found) == limit or number == MOST_LOOKED_AT:
            break
        last = topic
        name = topic.name.partition(":")[0]
        if name in NOT_TOLD or (kind and name != kind) or told.get(topic.name) == topic.version:
            continue
        if may_follow(user, topic.name):
            found.append(topic)
            told[topic.name] = topic.version
    else:
        return found, _settled(start, told, last), False
    assert last is not None  # neither limit is zero
    newest = dict(list(told.items())[-MOST_TOLD:])
    return found, Cursor(start.at, newest, (last.changed_at, last.name)), True


def _settled(start: Cursor, told: dict[str, int], last: Topic | None) -> Cursor:
    """Where the next question begins: after what was looked at, or after what is too old to come late."""
    seen = [start.at, *([last.changed_at] if last else []), *([start.resume[0]] if start.resume else [])]
    at = max(*seen, timezone.now() - 2 * LOOK_BACK)
    recent = Topic.objects.filter(name__in=list(told), changed_at__gt=at - LOOK_BACK).order_by("changed_at")
    names = list(recent.values_list("name", flat=True))[-MOST_TOLD:]
    return Cursor(at, {name: told[name] for name in names})


def _out(topic: Topic) -> dict[str, Any]:
    kind, _, key = topic.name.partition(":")
    return {"kind": kind, "id": parse_id(key), "version": topic.version, "at": topic.changed_at}
