"""A process that dies at a moment of the test's choosing, and the time that passes until others have finished its work.

What outlives a process is what its database committed, what its Docker engines were told and what it wrote to disk.
`Life` counts these deeds where they leave the process, so a new call or commit is a new moment by itself: walk once
undisturbed, and `Life.deeds` says how many moments there are. Between two deeds nothing changes outside, so death
after one is death before the next; looks (a list, an inspect) change nothing, and are moments only for `counts_looks`.
"""

import contextlib
import heapq
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models, transaction
from django.db.models import F

from webapp.control import registry
from webapp.control.lease import Leased

# What a sweep needs to find everything: its period, with nobody to tell it.
SWEEP_EVERY_S = 15
LOOKS = frozenset({"ping", "identity", "info", "list", "inspect", "signals_sent", "log_tail", "find_image", "GET"})
WRITES = ("INSERT", "UPDATE", "DELETE")


class Killed(BaseException):
    """The process ends here: whatever would still run in it comes to nothing."""


class Life:
    """One process. `deeds`: what it did so far, by name. `ends_at`: 2n is before its deed n, 2n + 1 after it."""

    def __init__(self, ends_at: int | None = None, counts_looks: bool = False) -> None:
        self.deeds: list[str] = []
        self.is_over = False
        self._ends_at, self._counts_looks = ends_at, counts_looks

    def do(self, name: str, deed: Callable[[], Any], undo: Callable[[], Any] = lambda: None) -> Any:
        """Do it, unless the process is dead or dies just before or after it. `undo`: what its death takes back."""
        if self.is_over:
            undo()
            raise Killed
        if name in LOOKS and not self._counts_looks:
            return deed()
        self.deeds.append(name)
        number = len(self.deeds) - 1
        if self._ends_at == 2 * number:
            self.is_over = True
            undo()
            raise Killed
        try:
            return deed()
        finally:
            if self._ends_at == 2 * number + 1:
                self.is_over = True
                # What was to follow a commit is not done.
                connection.run_on_commit = []
                raise Killed


class _Engine:
    """A runtime whose calls are deeds of this life."""

    def __init__(self, runtime: Any, life: Life) -> None:
        self._runtime, self._life = runtime, life

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._runtime, name)
        if not callable(real):
            return real
        return lambda *arguments, **named: self._life.do(name, lambda: real(*arguments, **named))


@contextlib.contextmanager
def living(life: Life, clock: "Clock") -> Iterator[None]:
    """What runs in here is that process: commits, calls of Docker engines, messages and folders of sockets.

    Needs real transactions. Its death ends this block without an error, and with it go all messages that were sent.
    """
    import docker

    from webapp.foundation import work_queue
    from workers.hosts import sockets
    from workers.hosts.connection import HostConnection

    runtime_of, commit = HostConnection.runtime, connection.commit
    ask, make, remove = docker.APIClient.request, sockets.make, sockets.remove

    def runtime(way: HostConnection, *within: Any) -> Any:
        there = runtime_of(way, *within)
        # A real engine's calls are counted where they go out: one call of ours may be several of its.
        return there if hasattr(there, "_connect") else _Engine(there, life)

    def request(client: Any, method: str, *arguments: Any, **named: Any) -> Any:
        return life.do(method, lambda: ask(client, method, *arguments, **named))

    def undo() -> None:
        connection.connection.rollback()
        connection.run_on_commit = []

    def write(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Outside a transaction every statement is one by itself."""
        if life.is_over and not sql.startswith("ROLLBACK"):
            raise Killed
        if connection.in_atomic_block or not sql.startswith(WRITES):
            return execute(sql, params, many, context)
        return life.do("write", lambda: execute(sql, params, many, context))

    def send(task: str, row_id: int, in_s: float | None = None) -> None:
        if life.is_over:
            raise Killed
        clock.send(task, row_id, in_s)

    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(write):
        patch.setattr(HostConnection, "runtime", runtime)
        patch.setattr(docker.APIClient, "request", request)
        patch.setattr(sockets, "make", lambda *about: life.do("make a socket's folder", lambda: make(*about)))
        patch.setattr(sockets, "remove", lambda path: life.do("remove a socket's folder", lambda: remove(path)))
        patch.setattr(connection, "commit", lambda: life.do("commit", commit, undo))
        patch.setattr(work_queue, "send", send)
        try:
            yield
        except Killed:
            clock.forget()


class Clock:
    """Time passes by hand for every row; messages come when they are due, and sweeps every SWEEP_EVERY_S seconds.

    `life`: the process that carries them out; a test puts another one there when it has died. `passes`: told of seconds
    that have gone by, for what is no row.
    """

    def __init__(self, life: Life | None = None, passes: Callable[[float], None] = lambda seconds: None) -> None:
        self.life = life or Life()
        self.now_s = 0.0
        self._passes = passes
        self._messages: list[tuple[float, int, str, int]] = []
        self._count = 0

    def send(self, task: str, row_id: int, in_s: float | None = None) -> None:
        """What `work_queue.send` does."""
        self._count += 1
        heapq.heappush(self._messages, (self.now_s + (in_s or 0), self._count, task, row_id))

    def forget(self) -> None:
        """All messages are lost."""
        self._messages.clear()

    def act(self, deed: Callable[[], Any]) -> None:
        """The process does this."""
        with living(self.life, self):
            deed()

    def run(self, within_s: float, waits: Callable[[], list[str]], step_s: float = 5) -> float:
        """Let time pass until nothing waits or the process has died; seconds. More than `within_s` is an error."""
        from workers.controllers import CONTROLLERS

        began_s = self.now_s
        while True:
            self._deliver()
            if self.life.is_over or not (left := waits()):
                return self.now_s - began_s
            assert self.now_s - began_s < within_s, f"after {within_s} s: {left}"
            before_s, self.now_s = self.now_s, self.now_s + step_s
            age(step_s)
            self._passes(step_s)
            if before_s // SWEEP_EVERY_S != self.now_s // SWEEP_EVERY_S:
                self.act(lambda: registry.sweep(controller.kind for controller in CONTROLLERS))

    def _deliver(self) -> None:
        """Carry out what is due by now, and what comes of it."""
        from workers import controllers

        for _count in range(200):
            if self.life.is_over or not self._messages or self._messages[0][0] > self.now_s:
                return
            _due, _number, task, row_id = heapq.heappop(self._messages)
            self.act(lambda task=task, row_id=row_id: controllers.work(task, row_id))  # type: ignore[misc]
        raise AssertionError("the messages never end")


class Tables:
    """What all tables hold now, to be put there again: cheaper than to walk there once more for every death."""

    def __init__(self) -> None:
        self._rows = {model: list(model._base_manager.all()) for model in _tables()}

    def put_back(self) -> None:
        with transaction.atomic():
            for model in self._rows:
                model._base_manager.all()._raw_delete(connection.alias)
            for model, rows in self._rows.items():
                model._base_manager.bulk_create(rows)


def _tables() -> list[type[models.Model]]:
    return [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]


def age(seconds: float) -> None:
    """Everything under the control loop grows older by so much."""
    for model in apps.get_models():
        if issubclass(model, Leased):
            dates = [field.attname for field in model._meta.concrete_fields if isinstance(field, models.DateTimeField)]
            model._default_manager.update(**{name: F(name) - timedelta(seconds=seconds) for name in dates})
