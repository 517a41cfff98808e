"""Follow a container's log: into the database in batches, its facts to the replica, its progress to the job."""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.utils import DatabaseError

from webapp.engines.base import Engine
from webapp.foundation.text import plain
from workers.hosts.client import HostClient
from workers.runtime.base import RuntimeFault
from workers.watcher import rows
from workers.watcher.cache import Run
from workers.watcher.rows import JobRun

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.5
MOST_LINE = 2000
# What one flush stores at most; an engine that prints more loses lines, and the log says how many.
MOST_BATCH = 128 * 1024
MOST_WAITING = 20_000
MOST_NUMBER = 2**63
STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\S+) ")

Flush = Callable[[list[tuple[str, str]]], Awaitable[None]]


async def follow(docker: HostClient, container_id: str, since: str, flush: Flush) -> None:
    """Read (date, line) pairs until the container ends, newer than `since`, and hand them over in batches."""
    batch: list[tuple[str, str]] = []
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def keep_flushing() -> None:
        while not ended.is_set():
            await arrived.wait()
            arrived.clear()
            await _hand_over(batch, flush)
            if batch:
                arrived.set()  # what could not be stored is tried again
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), FLUSH_EVERY_S)

    flusher = asyncio.create_task(keep_flushing())
    try:
        async with contextlib.aclosing(_lines(docker, container_id, since)) as lines:
            async for stamp, line in lines:
                if stamp <= since:
                    continue  # Docker's `since` includes the line we have
                batch.append((stamp, line))
                arrived.set()
                if len(batch) > MOST_WAITING:  # the database is slow or gone: read on slowly until it has caught up
                    await asyncio.sleep(FLUSH_EVERY_S)
    except RuntimeFault as fault:
        logger.info("log of %s ended: %s", container_id[:12], fault)
    finally:
        # Not cancelled: a piece that is being stored would be stored a second time.
        ended.set()
        arrived.set()
        await flusher
        await _hand_over(batch, flush)


async def _hand_over(batch: list[tuple[str, str]], flush: Flush) -> None:
    taken = batch[:]
    if not taken:
        return
    try:
        await flush(taken)
    except DatabaseError as error:
        logger.warning("a piece of log was not stored yet: %s", error)
        return  # it stays in the batch
    del batch[: len(taken)]


async def _lines(docker: HostClient, container_id: str, since: str) -> AsyncGenerator[tuple[str, str], None]:
    rest = ""
    async with contextlib.aclosing(docker.log(container_id, _unix(since) if since else "")) as stream:
        async for piece in stream:
            *lines, rest = (rest + piece).split("\n")
            rest = rest[: MOST_LINE * 4]
            for line in lines:
                found = STAMP.match(line)
                if found:
                    yield found.group(1), _capped(line[found.end() :])
    found = STAMP.match(rest)
    if found:
        yield found.group(1), _capped(rest[found.end() :])


def _capped(line: str) -> str:
    # A progress bar rewrites its line with carriage returns: its last word counts.
    line = plain(line.rstrip("\r").rsplit("\r", 1)[-1])
    return line if len(line) <= MOST_LINE else f"{line[:MOST_LINE]} …"


def _unix(stamp: str) -> str:
    """Docker's date as the seconds with nanoseconds that its `since` takes."""
    whole, _dot, fraction = stamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return f"{seconds}.{fraction.ljust(9, '0')[:9]}"


@dataclass
class ReplicaLog:
    """Stores one run's log and reads the engine's own words in it."""

    run: Run
    engine: Engine
    sizes: dict[str, int] = field(default_factory=dict)

    async def flush(self, batch: list[tuple[str, str]]) -> None:
        # What says no more than that we looked would fill an idle engine's log, and push the rest out of it.
        kept = [pair for pair in batch if not self.engine.is_our_asking(pair[1])]
        if kept:
            text, left_out = _text(kept)
            if left_out:
                text += f"[{left_out} lines left out]\n"
            await rows.call(rows.append_log, self.run, text, batch[-1][0])
        progress: tuple[float | None, str] | None = None
        before = dict(self.sizes)
        for _stamp, line in batch:
            fact = self.engine.parse_log(line)
            if fact is None:
                continue
            if fact.kind == "buffer" and fact.value_bytes is not None:
                key = f"{fact.device or 'host'} {fact.key}"
                before_it = 0 if fact.replaces else self.sizes.get(key, 0)
                self.sizes[key] = before_it + fact.value_bytes
            elif fact.kind == "progress":
                progress = (fact.fraction, fact.text or fact.key)
        sizes = dict(self.sizes) if self.sizes != before else None
        if sizes or progress:
            await rows.call(rows.record_engine_facts, self.run[0], sizes, progress)


def _text(batch: list[tuple[str, str]]) -> tuple[str, int]:
    """The newest lines that fit into one chunk, and how many older ones do not."""
    room, first = MOST_BATCH, len(batch)
    while first > 0 and room > 0:
        first -= 1
        room -= len(batch[first][1]) + 1
    return "".join(f"{line}\n" for _stamp, line in batch[first:]), first


@dataclass
class JobLog:
    """Keeps what a step's tool says and reads our programs' lines of JSON; the newest numbers go to the job's row."""

    run: JobRun
    said_at: float = 0.0
    told: str = ""

    async def flush(self, batch: list[tuple[str, str]]) -> None:
        newest: dict[str, Any] | None = None
        words: list[tuple[str, str]] = []
        for stamp, line in batch:
            said = _object(line)
            if said is None:
                words.append((stamp, line))
                continue
            if isinstance(said.get("step"), str) and said["step"] != "done":
                newest = said
            words += [(stamp, told) for told in self._told(said)]
        if words:
            text, left_out = _text(words)
            note = f"[{left_out} lines left out]\n" if left_out else ""
            await rows.call(rows.append_job_log, self.run, note + text, batch[-1][0])
        if newest is not None:
            await self._record(newest)

    async def _record(self, said: dict[str, Any]) -> None:
        done, total = _number(said.get("done")), _number(said.get("total"))
        speed = float(said["speed"]) if _number(said.get("speed")) is not None else None
        unit, message = str(said.get("unit") or ""), str(said.get("message") or "")
        await rows.call(rows.record_job_progress, self.run[0], said["step"], done, total, unit, speed, message)
        self.said_at = time.monotonic()

    def _told(self, said: dict[str, Any]) -> list[str]:
        """The line of the log for a line of JSON: a failure, or files by name. Tools name their layers themselves."""
        error = said.get("error")
        if isinstance(error, dict):
            told = f"{error.get('message', '')} {error.get('advice', '')}".strip()
        elif said.get("unit") == "bytes" and said.get("message"):
            told = f"{said.get('step')}: {said['message']}"
        else:
            return []
        if told == self.told:
            return []
        self.told = told
        # The words may come from outside: one line stays one.
        return [_capped(" ".join(told.splitlines()))]


def _object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _number(value: object) -> int | None:
    """A number that a row can hold; JSON knows others."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < MOST_NUMBER:
        return None
    return int(value)
