"""Asks web once a second whether the routing table has changed."""

import asyncio
import contextlib
import logging
import time
from urllib.parse import quote

import msgspec

from webapp.foundation.crypto import DecryptionError
from webapp.gateway.http.web_client import WebUnavailable
from webapp.gateway.process.state import State
from webapp.gateway.routing import snapshot, vault
from webapp.gateway.settings import snapshot_file

log = logging.getLogger(__name__)

ASK_EVERY_S = 0.1
PATIENCE_S = 0.3


def load_last(state: State) -> None:
    """Begin with what was known before, so that nobody waits for web."""
    try:
        document = vault.load(snapshot_file())
        if document is not None:
            state.adopt(snapshot.decode(document))
            log.info("serving from the stored snapshot %s", state.directory.version)
    except (DecryptionError, msgspec.MsgspecError, OSError) as error:
        log.error("the stored snapshot cannot be used (%s): waiting for web", error)


async def poll_forever(state: State) -> None:
    """One question per period; a difference between web being up and down is logged once."""
    said: str | None = None
    while True:
        try:
            await poll_once(state)
            problem = ""
        except (WebUnavailable, msgspec.MsgspecError, OSError) as error:
            problem = str(error)
        if problem != said:
            if problem:
                log.warning("no news from web: %s; serving snapshot %r", problem, state.directory.version)
            else:
                log.info("web answers; snapshot %s", state.directory.version)
            said = problem
        await asyncio.sleep(state.settings.poll_s)


async def hear_news(state: State) -> None:
    """Ask web now instead of at the next tick. One question at a time and ten a second at most, whoever wants to know;
    waits PATIENCE_S at most, and never raises."""
    if state.asking is None or state.asking.done():
        now = time.monotonic()
        if now - state.asked_at < ASK_EVERY_S:
            return
        state.asked_at = now
        state.asking = asyncio.create_task(_ask_quietly(state))
    await asyncio.wait({state.asking}, timeout=PATIENCE_S)


async def _ask_quietly(state: State) -> None:
    # What is wrong with web is said by the regular poll.
    with contextlib.suppress(WebUnavailable, msgspec.MsgspecError, OSError):
        await poll_once(state)


async def poll_once(state: State) -> None:
    """Take a newer snapshot if there is one. Raises WebUnavailable, or MsgspecError for one that cannot be read."""
    # The first question of a process asks for the whole: the same number may have been stored by an older release,
    # which knew less.
    version = quote(state.directory.version) if state.polled_at else ""
    status, document = await state.web.call("GET", f"/internal/gateway/snapshot?version={version}")
    if status == 200:
        state.adopt(snapshot.decode(document))
        await _keep(state, document)
    elif status != 304:
        raise WebUnavailable(f"web answered {status} when asked for the snapshot")
    state.polled()


async def _keep(state: State, document: bytes) -> None:
    try:
        await asyncio.get_running_loop().run_in_executor(state.disk, vault.save, snapshot_file(), document)
    except OSError as error:
        log.error("the snapshot cannot be stored (%s): a restart while web is down would not find it", error)
