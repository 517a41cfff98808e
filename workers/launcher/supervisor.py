"""A small supervisor: starts processes in order of readiness, restarts what dies, leaves nothing behind.

One asyncio loop without timers: it wakes for output, for an end, for a signal. Each process lives in a group of its
own; its end takes the group along. Should the supervisor be killed, the guard ends the groups.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.launcher.child import Child, become_subreaper, reap_strangers
from workers.launcher.guard import Guard
from workers.launcher.logs import Logs
from workers.launcher.progress import LauncherError

Probe = Callable[[], Awaitable[bool]]
Work = Callable[[], Coroutine[Any, Any, None]]
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 30.0
HEALTHY_AFTER_S = 10.0
PROBE_FIRST_S = 0.05
PROBE_MOST_S = 1.0
EARLY_DEATHS = 3
HELPER_STOP_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: ready when its probe says so, or its line was seen, or (with neither) as soon as it runs.

    `after` names processes that must be ready first; they are stopped later. `stop_s` is its time to end by itself.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None
    after: tuple[str, ...] = ()
    probe: Probe | None = None
    ready_line: str | None = None
    ready_limit_s: float = 60.0
    stop_s: float = 10.0


@dataclass(slots=True)
class _Kept:
    spec: ProcessSpec
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    was_ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    line_seen: asyncio.Event = field(default_factory=asyncio.Event)
    child: Child | None = None
    starts: int = 0
    ready_at: float | None = None

    def ready_for_s(self) -> float:
        """Seconds since this start got ready; 0 before."""
        return 0.0 if self.ready_at is None else asyncio.get_running_loop().time() - self.ready_at


def backoff_s(deaths: int) -> float:
    """Seconds before the next start after that many deaths in a row (0, 1, 2 ...): 0.2, 0.4, 0.8 ... at most 30."""
    return float(min(BACKOFF_FIRST_S * 2.0 ** min(deaths, 20), BACKOFF_MOST_S))


class Supervisor:
    """Runs `specs` until a signal or `request_stop`. Use one per process, from its main thread."""

    def __init__(self, specs: Sequence[ProcessSpec], logs: Logs, *, cwd: str = ".") -> None:
        names = {spec.name for spec in specs}
        for spec in specs:
            unknown = set(spec.after) - names
            if unknown:
                raise ValueError(f"{spec.name} waits for processes that do not exist: {', '.join(sorted(unknown))}")
        self._kept = {spec.name: _Kept(spec) for spec in specs}
        self._logs = logs
        self._cwd = cwd
        self._stopping = asyncio.Event()
        self._failure: str | None = None
        self._guard = Guard()
        self._helpers: set[int] = set()

    async def run(self, when_ready: Work | None = None, beside: Work | None = None) -> None:
        """Start everything, call `when_ready` once all were ready, restart what dies, return when told to stop.

        `beside` runs from the start on and is cancelled at the stop. Raises LauncherError when one of the two does, or
        when a process dies three times, or does not get ready in its time, while starting. Whatever happens, nothing
        runs any more afterwards.
        """
        become_subreaper()
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.request_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        keepers = [self._task(self._keep(kept)) for kept in self._kept.values()]
        works = [self._task(self._when_all_ready(when_ready))] + ([self._task(beside())] if beside else [])
        try:
            await self._stopping.wait()
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await asyncio.gather(*(self._stop(kept) for kept in self._kept.values()))
            await asyncio.gather(*keepers, return_exceptions=True)
            self._guard.close()
            for number in (*SIGNALS, signal.SIGCHLD):
                loop.remove_signal_handler(number)
        if self._failure:
            raise LauncherError(self._failure)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose error stops everything instead of being forgotten."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._take_error)
        return task

    def _take_error(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.request_stop(str(error) if isinstance(error, LauncherError) else repr(error))

    def request_stop(self, failure: str | None = None) -> None:
        """Stop everything; asked a second time, kill what is left at once."""
        if self._stopping.is_set() and failure is None:
            for kept in self._kept.values():
                if kept.child:
                    kept.child.kill_group()
        self._failure = self._failure or failure
        self._stopping.set()

    def states(self) -> dict[str, dict[str, object]]:
        """Each process's pid, number of starts and whether it is ready."""
        return {
            name: {
                "pid": kept.child.pid if kept.child and kept.child.exit_code is None else None,
                "starts": kept.starts,
                "ready": kept.ready.is_set(),
            }
            for name, kept in self._kept.items()
        }

    async def run_once(self, command: Sequence[str], env: Mapping[str, str], on_line: Callable[[str], None]) -> int:
        """Run one command beside the processes, ended with them; its exit code."""
        child = Child(command, env, self._cwd, on_line)
        self._helpers.add(child.pid)
        self._guard.add(child.pid)
        try:
            return await child.wait()
        except asyncio.CancelledError:
            await child.stop(HELPER_STOP_S)
            raise
        finally:
            self._guard.remove(child.pid)
            self._helpers.discard(child.pid)

    async def _when_all_ready(self, when_ready: Work | None) -> None:
        await asyncio.gather(*(kept.was_ready.wait() for kept in self._kept.values()))
        if when_ready:
            await when_ready()

    async def _keep(self, kept: _Kept) -> None:
        """Keep one process running until told to stop."""
        spec = kept.spec
        deaths = 0
        await self._unless_stopping(*(self._kept[name].was_ready.wait() for name in spec.after))
        while not self._stopping.is_set():
            child = self._start(kept)
            if child is None:
                return
            watching = asyncio.create_task(self._watch_readiness(kept, child))
            code = await child.wait()
            watching.cancel()
            self._guard.remove(child.pid)
            kept.ready.clear()
            if self._stopping.is_set():
                return
            # Long enough ready: what it dies of now is not what it died of before.
            deaths = 1 if kept.ready_for_s() >= HEALTHY_AFTER_S else deaths + 1
            self._say_death(kept, code, deaths)
            await self._unless_stopping(asyncio.sleep(backoff_s(deaths - 1)))

    def _start(self, kept: _Kept) -> Child | None:
        kept.line_seen.clear()
        kept.ready_at = None
        try:
            child = Child(kept.spec.command, kept.spec.env, self._cwd, lambda line: self._take_line(kept, line))
        except OSError as error:
            self.request_stop(f"{kept.spec.name} cannot be started: {error}")
            return None
        self._guard.add(child.pid)
        kept.child = child
        kept.starts += 1
        return child

    async def _watch_readiness(self, kept: _Kept, child: Child) -> None:
        """Wait until the process is ready. Too late: a failure while everything starts, a new try later."""
        try:
            async with asyncio.timeout(kept.spec.ready_limit_s):
                await self._until_ready(kept)
        except TimeoutError:
            words = f"{kept.spec.name} is not ready after {kept.spec.ready_limit_s:.0f} s"
            if not kept.was_ready.is_set():
                self._fail(kept, words)
            else:
                self._logs.show(kept.spec.name, f"({words}: starting it again)")
                await child.stop(kept.spec.stop_s)
            return
        kept.ready_at = asyncio.get_running_loop().time()
        kept.ready.set()
        kept.was_ready.set()

    async def _until_ready(self, kept: _Kept) -> None:
        if kept.spec.ready_line:
            await kept.line_seen.wait()
        pause_s = PROBE_FIRST_S
        while kept.spec.probe and not await _holds(kept.spec.probe):
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.3, PROBE_MOST_S)

    def _take_line(self, kept: _Kept, line: str) -> None:
        self._logs.line(kept.spec.name, line)
        if kept.spec.ready_line and not kept.line_seen.is_set() and re.search(kept.spec.ready_line, line):
            kept.line_seen.set()

    def _say_death(self, kept: _Kept, code: int, deaths: int) -> None:
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        if not kept.was_ready.is_set() and deaths >= EARLY_DEATHS:
            self._fail(kept, f"{kept.spec.name} {how} {deaths} times before it was ready")
            return
        pause = backoff_s(deaths - 1)
        self._logs.show(kept.spec.name, f"({how}; starting it again in {pause:.1f} s)")

    def _fail(self, kept: _Kept, words: str) -> None:
        tail = "\n".join(f"    {line}" for line in self._logs.tail(kept.spec.name))
        self.request_stop(f"{words}. Its last lines:\n{tail}")

    async def _stop(self, kept: _Kept) -> None:
        """Stop one process after everything that needs it."""
        needing = [other for other in self._kept.values() if kept.spec.name in other.spec.after]
        await asyncio.gather(*(other.stopped.wait() for other in needing))
        if kept.child and kept.child.exit_code is None:
            await kept.child.stop(kept.spec.stop_s)
        kept.stopped.set()

    async def _unless_stopping(self, *waits: Awaitable[object]) -> None:
        """Wait for all of `waits`, or until told to stop."""
        work = asyncio.ensure_future(asyncio.gather(*waits))
        stop = asyncio.ensure_future(self._stopping.wait())
        both: set[asyncio.Future[Any]] = {work, stop}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, stop):
            task.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)

    def _reap(self) -> None:
        known = {kept.child.pid for kept in self._kept.values() if kept.child}
        reap_strangers({*known, *self._helpers, self._guard.pid, os.getpid()})


async def _holds(probe: Probe) -> bool:
    # Nothing listens yet, or it closed the connection: not ready.
    with contextlib.suppress(OSError, EOFError, ValueError):
        return await probe()
    return False
