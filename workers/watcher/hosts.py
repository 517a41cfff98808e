"""Watch one host: events as they come, the whole list after every break, and a sign of life now and then."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

from django.db.utils import DatabaseError

from webapp.deployments.states import ReplicaState
from workers.hosts.client import Events, HostClient
from workers.runtime.base import LABEL_INSTALLATION, ContainerFacts, RuntimeFault
from workers.watcher import logs, probing, pulling, rows
from workers.watcher.cache import ReplicaCache
from workers.watcher.rows import HostRow

logger = logging.getLogger(__name__)

SIGN_OF_LIFE_EVERY_S = 10.0
SIGN_OF_LIFE_WITHIN_S = 5.0
# A break shorter than this is a hiccup; a longer one makes the host unreachable.
SILENT_FOR_S = 3.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
# What happens to a container and changes what its row should say. exec, attach, top ... do not.
TELLING = frozenset({"create", "start", "die", "oom", "kill", "stop", "destroy", "pause", "unpause"})

# Containers whose engine answers, or will once somebody unpauses it.
GOING = ("running", "paused")
# Replicas whose engine is asked.
ASKED = (ReplicaState.STARTING, ReplicaState.LOADING, ReplicaState.READY)


class HostWatch:
    """One Docker engine, watched until cancelled."""

    def __init__(self, host: HostRow, cache: ReplicaCache, installation: str) -> None:
        self.host = host
        self._cache = cache
        self._ours = {LABEL_INSTALLATION: installation}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        # Containers that have ended, as Docker says: their replicas' rows may say `ready` until a worker has looked.
        self._ended: set[str] = set()
        self._broke_at: float | None = None
        self._is_lost = False

    async def run(self) -> None:
        """Connect, watch, and connect again after every break."""
        pause = FIRST_PAUSE_S
        try:
            while True:
                began = time.monotonic()
                error = await self._watch_until_it_breaks()
                await self._cancel_tasks()
                if self._broke_at is None:
                    self._broke_at = time.monotonic()
                await self._maybe_lost(error)
                pause = FIRST_PAUSE_S if time.monotonic() - began > 10 else min(LONGEST_PAUSE_S, pause * 2)
                await asyncio.sleep(pause)
        finally:
            await self._cancel_tasks()

    async def _watch_until_it_breaks(self) -> str:
        """The reason of the break."""
        alive: asyncio.Task[None] | None = None
        try:
            async with self.host.connection.client() as docker:
                # From a moment ago: what happens between this line and the list is in both.
                events = docker.events(self._ours, since=int(time.time()) - 1)
                await self._list(docker)
                await self._contact()
                alive = asyncio.create_task(self._signs_of_life(docker, events))
                while (event := await events.get()) is not None:
                    await self._handle(docker, event)
            return "the stream of events ended"
        except (RuntimeFault, OSError, ValueError) as error:
            return str(error) or type(error).__name__
        except DatabaseError as error:
            logger.warning("%s: the database does not answer: %s", self.host.name, error)
            return ""
        finally:
            if alive is not None:
                alive.cancel()

    async def _signs_of_life(self, docker: HostClient, events: Events) -> None:
        """A frozen engine breaks no connection: ask it now and then, and end the stream when it is silent."""
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_EVERY_S)
            try:
                async with asyncio.timeout(SIGN_OF_LIFE_WITHIN_S):
                    await docker.ping()
            except (RuntimeFault, TimeoutError):
                events.end()
                return

    async def _contact(self) -> None:
        if self._broke_at is not None:
            lost_for_s = time.monotonic() - self._broke_at
            await rows.call(rows.record_host_back, self.host.id, lost_for_s)
            logger.info("%s answers again after %.1f s", self.host.name, lost_for_s)
        self._broke_at, self._is_lost = None, False

    async def _maybe_lost(self, reason: str) -> None:
        silent_s = time.monotonic() - (self._broke_at or time.monotonic())
        if self._is_lost or not reason or silent_s < SILENT_FOR_S:
            return
        with contextlib.suppress(DatabaseError):
            await rows.call(rows.record_host_lost, self.host.id, f"Docker does not answer: {reason}"[:500])
            self._is_lost = True
            logger.warning("%s does not answer: %s", self.host.name, reason)

    async def _list(self, docker: HostClient) -> None:
        """Everything of ours on the host, after a break or at the start: wake the workers, follow what runs."""
        found = await docker.list(self._ours)
        self._ended = {facts.id for facts in found if facts.status == "exited"}
        ids: dict[str, set[int]] = {"replica": set(), "job": set()}
        await self._cache.refresh_all()
        for facts in found:
            ids.get(facts.kind, set()).add(facts.row_id)
            # What has ended while nobody looked still has a log to be read; what is paused goes on without a new start.
            if facts.status in (*GOING, "exited"):
                await self._follow(docker, facts)
        await rows.call(rows.wake_host, self.host.id, (ids["replica"], ids["job"]))

    async def _handle(self, docker: HostClient, event: dict[str, Any]) -> None:
        """Wake the workers first, then attend to the container ourselves."""
        action = str(event.get("Action") or "").split(":")[0]
        if action not in TELLING:
            return
        actor = event.get("Actor") or {}
        facts = _facts(
            str(actor.get("ID", "")), "running" if action == "start" else action, actor.get("Attributes") or {}
        )
        if facts.kind == "replica":
            await rows.call(rows.wake_replicas, {facts.row_id})
        elif facts.kind == "job":
            await rows.call(rows.wake_jobs, {facts.row_id})
        if action == "start":
            self._ended.discard(facts.id)
            await self._follow(docker, facts)
        elif action in ("die", "destroy"):
            self._ended.add(facts.id)
            self._end("probe", facts.id)

    async def _follow(self, docker: HostClient, facts: ContainerFacts) -> None:
        if facts.kind == "replica":
            run = (facts.row_id, facts.generation, facts.attempt)
            target = await self._cache.refresh(facts.row_id)
            if target is None or target.run != run:
                return
            if facts.status in GOING:
                self._begin("probe", facts.id, probing.watch(self._cache, run))
            since = await rows.call(rows.log_until, run)
            log = logs.ReplicaLog(run, target.engine)
            self._begin("log", facts.id, logs.follow(docker, facts.id, since, log.flush))
        elif facts.kind == "job":
            step = (facts.row_id, facts.attempt, facts.generation)
            since = await rows.call(rows.job_log_until, step)
            self._begin("log", facts.id, logs.follow(docker, facts.id, since, logs.JobLog(step).flush))

    async def tick(self) -> None:
        """Called every few seconds: pull what replicas wait for, and probe what an event was lost for."""
        if self._broke_at is not None:
            return  # while its Docker engine does not answer, nothing on it is touched
        for target in self._cache.on_host(self.host.id):
            if target.state == ReplicaState.PULLING and target.image:
                if ("pull", str(target.id)) not in self._tasks:
                    self._begin("pull", str(target.id), self._pull(target))
            elif self._is_to_ask(target):
                self._begin("probe", target.container_id, probing.watch(self._cache, target.run))

    def _is_to_ask(self, target: rows.Target) -> bool:
        """Nobody asks it, and somebody should. One that has ended is not unwell: its worker will say why it ended."""
        key = target.container_id
        return target.state in ASKED and bool(key) and key not in self._ended and ("probe", key) not in self._tasks

    async def _pull(self, target: rows.Target) -> None:
        async with self.host.connection.client() as docker:
            await pulling.pull(docker, target)

    def _begin(self, what: str, key: str, work: Coroutine[Any, Any, None]) -> None:
        if (what, key) in self._tasks:
            work.close()
            return
        task = asyncio.create_task(self._guarded(what, key, work))
        self._tasks[what, key] = task
        task.add_done_callback(lambda done: self._forget(what, key, done))

    def _forget(self, what: str, key: str, done: asyncio.Task[None]) -> None:
        if self._tasks.get((what, key)) is done:
            del self._tasks[what, key]

    async def _guarded(self, what: str, key: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (RuntimeFault, DatabaseError, OSError) as error:
            logger.warning("%s: %s of %s ended: %s", self.host.name, what, key[:12], error)

    def _end(self, what: str, key: str) -> None:
        task = self._tasks.pop((what, key), None)
        if task is not None:
            task.cancel()

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _facts(container_id: str, status: str, labels: dict[str, str]) -> ContainerFacts:
    return ContainerFacts(id=container_id, name="", status=status, labels=labels)
