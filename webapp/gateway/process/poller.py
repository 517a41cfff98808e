"""Asks web once a second whether the routing table has changed."""

import asyncio
import contextlib
import logging
import time
from concurrent.futures import Executor
from urllib.parse import quote

import msgspec

from webapp.foundation.crypto import DecryptionError
from webapp.foundation.key_ring import MasterKeyError
from webapp.gateway.http.web_client import WebClient, WebUnavailable
from webapp.gateway.ledger.journal import UsageJournal
from webapp.gateway.routing import snapshot, vault
from webapp.gateway.routing.table import RoutingTable
from webapp.gateway.settings import BEFORE, PARTS, snapshot_file

log = logging.getLogger(__name__)

ASK_EVERY_S = 0.1
PATIENCE_S = 0.3


class Poller:
    """`polled_at` is when web answered last, in unix seconds; 0 before it has."""

    def __init__(self, table: RoutingTable, web: WebClient, journal: UsageJournal, disk: Executor) -> None:
        self._table = table
        self._web = web
        self._journal = journal
        self._disk = disk
        self.polled_at = 0.0
        # A question asked between two polls, for a request that found nobody ready, and when it began.
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = 0.0

    def load_last(self) -> None:
        """Begin with what was known before, so that nobody waits for web."""
        try:
            principals, routes = map(_stored, PARTS)
            if principals is not None and routes is not None:
                self._table.adopt(snapshot.from_parts(principals, routes))
                log.info("serving from the stored snapshot %s", self._table.directory.version)
        except (DecryptionError, msgspec.MsgspecError, OSError) as error:
            log.error("the stored snapshot cannot be used (%s): waiting for web", error)

    async def poll_forever(self, every_s: float) -> None:
        """One question per period; a difference between web being up and down is logged once."""
        said: str | None = None
        while True:
            try:
                await self.poll_once()
                problem = ""
            except (WebUnavailable, msgspec.MsgspecError, OSError) as error:
                problem = str(error)
            if problem != said:
                if problem:
                    log.warning("no news from web: %s; serving snapshot %r", problem, self._table.directory.version)
                else:
                    log.info("web answers; snapshot %s", self._table.directory.version)
                said = problem
            await asyncio.sleep(every_s)

    async def hear_news(self) -> None:
        """Ask web now instead of at the next tick. One question at a time and ten a second at most, whoever wants to
        know; waits PATIENCE_S at most, and never raises."""
        if self._asking is None or self._asking.done():
            now = time.monotonic()
            if now - self._asked_at < ASK_EVERY_S:
                return
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask_quietly())
        await asyncio.wait({self._asking}, timeout=PATIENCE_S)

    async def _ask_quietly(self) -> None:
        # What is wrong with web is said by the regular poll.
        with contextlib.suppress(WebUnavailable, msgspec.MsgspecError, OSError):
            await self.poll_once()

    async def poll_once(self) -> None:
        """Take what is newer. Raises WebUnavailable, or MsgspecError for what cannot be read."""
        # The first question of a process asks for the whole: the same numbers may have been stored by an older release,
        # which knew less.
        directory = self._table.directory
        people, offers = (directory.people.version, directory.offers.version) if self.polled_at else ("", "")
        query = f"principals={quote(people)}&routes={quote(offers)}"
        status, document = await self._web.call("GET", f"/internal/gateway/snapshot?{query}")
        if status == 200:
            parts = snapshot.raw_parts(document)
            if not parts:
                raise WebUnavailable("web is of another release")
            self._table.adopt(snapshot.decode(document))
            await self._keep(parts)
        elif status != 304:
            raise WebUnavailable(f"web answered {status} when asked for the snapshot")
        self.polled_at = time.time()
        self._journal.web_is_up()

    async def _keep(self, parts: dict[str, bytes]) -> None:
        loop = asyncio.get_running_loop()
        try:
            for name, part in parts.items():
                await loop.run_in_executor(self._disk, vault.save, snapshot_file(name), part)
            await loop.run_in_executor(self._disk, vault.remove, snapshot_file(BEFORE))
        except (OSError, MasterKeyError) as error:
            log.error("the snapshot cannot be stored (%s): a restart while web is down would not find it", error)


def _stored(part: str) -> bytes | None:
    """A release before kept both parts in one document; the members of each are where they were."""
    return vault.load(snapshot_file(part)) or vault.load(snapshot_file(BEFORE))
