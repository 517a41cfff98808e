"""Requests refused before a deployment was known, counted: a flood of them costs one row a minute, not one each.

One count stands for one minute, one key and one reason. It is told again whenever it has grown, under the same id, so
that whoever stores it keeps the largest.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from webapp.gateway.http.errors import Problem
from webapp.gateway.ledger.records import new_id
from webapp.gateway.routing.credentials import Principal

FLUSH_S = 1.0
# Keys and reasons are few. Should they not be, the rest of a minute is counted without saying whose it was.
MAX_GROUPS = 2000
_MAX_MESSAGE_CHARS = 300

Group = tuple[int | None, int | None, int | None, str, int, str]


class RefusalCount(msgspec.Struct, gc=False):
    """`at` is the start of its minute, `message` and `request_id` are the latest one's. Times in unix seconds."""

    id: str
    at: int
    last_at: float
    key: int | None
    user: int | None
    team: int | None
    endpoint: str
    status: int
    code: str
    message: str
    request_id: str
    count: int = 0
    kind: Literal["refused"] = "refused"


class RefusalCounts:
    """`tell` gets copies of what has grown, about once a second while there is something."""

    def __init__(self, tell: Callable[[list[RefusalCount]], None]) -> None:
        self._tell = tell
        self._minute = 0
        self._groups: dict[Group, RefusalCount] = {}
        self._grown: dict[Group, RefusalCount] = {}
        self._timer: asyncio.TimerHandle | None = None

    def count(self, principal: Principal | None, endpoint: str, problem: Problem, request_id: str) -> None:
        """One more. `principal` is whose key it was, when that is known."""
        now = time.time()
        minute = int(now) // 60 * 60
        if minute != self._minute:
            self.flush()
            self._minute = minute
            self._groups.clear()
        who = (None, None, None) if principal is None else (principal.key, principal.user, principal.team)
        group: Group = (*who, endpoint, problem.status, problem.code)
        row = self._groups.get(group)
        if row is None:
            if len(self._groups) >= MAX_GROUPS:
                group = (None, None, None, "", problem.status, problem.code)
            row = self._groups.get(group) or RefusalCount(new_id(), minute, now, *group, "", "")
            self._groups[group] = row
        row.count += 1
        row.last_at = now
        row.message = problem.message[:_MAX_MESSAGE_CHARS]
        row.request_id = request_id
        self._grown[group] = row
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Tell what has grown since the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        grown, self._grown = self._grown, {}
        if grown:
            self._tell([msgspec.structs.replace(row) for row in grown.values()])
