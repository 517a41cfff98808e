"""Carries usage records from requests to disk, and from disk to web, without the event loop ever waiting for either."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from webapp.gateway.http.web_client import WebClient, WebUnavailable
from webapp.gateway.ledger.records import UsageRecord, encode_lines
from webapp.gateway.ledger.refusal_counts import RefusalCount
from webapp.gateway.ledger.segments import Segments, batches

log = logging.getLogger(__name__)

T = TypeVar("T")

FLUSH_S = 0.2
MAX_UNWRITTEN = 100_000
_USAGE_PATH = "/internal/gateway/usage"


class UsageJournal:
    """A record is safe after the flush that follows it; a file is removed only after web has said it committed it.

    Sending is tried after a flush while web answers, and whenever the poller reaches web again (`web_is_up`):
    nothing ticks while there is nothing to send.
    """

    def __init__(self, segments: Segments, web: WebClient, disk: Executor) -> None:
        self._segments = segments
        self._web = web
        self._disk = disk
        self._unwritten: list[UsageRecord | RefusalCount] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._wants_sending = True
        self.dropped = 0
        self.recorded = 0

    def add(self, record: UsageRecord) -> None:
        """It is encoded later, in the thread that writes."""
        self._unwritten.append(record)
        self.recorded += 1
        if self._flush_timer is None:
            self._start_timer()

    def add_refused(self, counts: list[RefusalCount]) -> None:
        """They travel as records do, and are no records of usage."""
        self._unwritten += counts
        if self._flush_timer is None:
            self._start_timer()

    def web_is_up(self) -> None:
        """Called once a second while web answers; cheap when nothing waits."""
        if self._wants_sending:
            self._start_work()

    async def close(self, timeout_s: float) -> None:
        """Write everything, and send it if web takes it in time."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        if self._work is not None:
            await asyncio.wait([self._work], timeout=timeout_s)
        await self._write()
        try:
            async with asyncio.timeout(timeout_s):
                await self._send_all()
        except TimeoutError:
            log.warning("web did not take the last usage records in time: they stay on disk")

    def backlog_bytes(self) -> int:
        return self._segments.backlog_bytes()

    def _start_timer(self) -> None:
        self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush_soon)

    def _flush_soon(self) -> None:
        self._flush_timer = None
        self._wants_sending = True
        self._start_work()

    def _start_work(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._write_and_send())

    async def _write_and_send(self) -> None:
        await self._write()
        if self._web.is_up:
            await self._send_all()
        if self._unwritten and self._flush_timer is None:
            self._start_timer()

    async def _write(self) -> None:
        records, self._unwritten = self._unwritten, []
        if not records:
            return
        try:
            await self._run(lambda: self._segments.append(encode_lines(records)))
        except OSError as error:
            log.error("usage records cannot be written (%s): they are kept in memory and written again", error)
            kept = records + self._unwritten
            self.dropped += max(0, len(kept) - MAX_UNWRITTEN)
            self._unwritten = kept[-MAX_UNWRITTEN:]

    async def _send_all(self) -> None:
        self._wants_sending = False
        try:
            await self._run(self._segments.close_open)
            for segment in await self._run(self._segments.waiting):
                await self._send(segment)
        except (WebUnavailable, OSError) as error:
            self._wants_sending = True
            log.debug("usage records wait: %s", error)

    async def _send(self, segment: Path) -> None:
        bodies = await self._run(lambda: list(batches(segment)))
        for body in bodies:
            status, answer = await self._web.call("POST", _USAGE_PATH, body, timeout_s=15)
            if status in (400, 413, 415, 422):
                log.error("web refused usage records (%d, %r): %s is set aside", status, answer[:200], segment.name)
                await self._run(lambda: self._segments.set_aside(segment))
                return
            if status != 200:
                raise WebUnavailable(f"web answered {status}")
        await self._run(segment.unlink)

    async def _run(self, blocking: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, blocking)
