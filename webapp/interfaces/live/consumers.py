"""The socket behind every live page: it carries re-rendered parts of the page, never facts of its own."""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings

from webapp.foundation.events import services as events
from webapp.interfaces.live import topics

logger = logging.getLogger(__name__)

# Permissions and versions are looked at this often even when nobody says that something changed.
POLL_S = 15.0
# At most ten renderings a second, however many changes there are.
PAUSE_S = 0.1
# Something is said at least this often, so that the page notices a connection that died without a word ...
BEAT_S = 10.0
# ... and the page answers, so that we notice too.
SILENCE_S = 45.0
# After a broker that cannot be reached is tried again.
BROKER_AGAIN_S = 3.0

SIGNED_OUT = 4401
GONE = 4404
AGAIN = 1013


class LiveConsumer(AsyncWebsocketConsumer):
    """One page's socket. One task listens to the broker, one looks and sends; between them stands a set of topics."""

    # The base class would subscribe before accepting and answer 500 without a broker: we listen in a task of our own.
    channel_layer_alias = "none"

    async def connect(self) -> None:
        self.heard_at = time.monotonic()
        self.tasks: list[asyncio.Task[None]] = []
        subscription = topics.Subscription.parse(self.scope["query_string"])
        self.session_key = self.scope.get("cookies", {}).get(settings.SESSION_COOKIE_NAME, "")
        # The handshake is accepted before the check: a page can read our code for "signed out", but not an HTTP status.
        await self.accept()
        if subscription is None:
            await self.close(GONE)
            return
        self.subscription = subscription
        self.forced: set[str] = set()
        self.woken = asyncio.Event()
        # The page shows what it was sent last, as far as it says so at all.
        self.shown = asyncio.Event()
        self.shown.set()
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._serve())]

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The page says that it is alive, that it shows what it was sent, or that its list shows something else now."""
        self.heard_at = time.monotonic()
        try:
            said = json.loads(text_data or "{}")
        except ValueError:
            return
        if not isinstance(said, dict) or not self.tasks:
            return
        if said.get("shown"):
            self.shown.set()
        if isinstance(said.get("view"), str):
            self.subscription.show(said["view"])

    async def _listen(self) -> None:
        """Mark topics that the broker says have changed. Without a broker the poll does it alone."""
        while True:
            try:
                await self._listen_once()
            except Exception as error:  # whatever the broker's client raises
                logger.info("live pages are polled, the broker does not answer: %s", error)
            await asyncio.sleep(BROKER_AGAIN_S)

    async def _listen_once(self) -> None:
        layer = get_channel_layer()
        if layer is None:
            return
        async with asyncio.timeout(BROKER_AGAIN_S):
            channel = await layer.new_channel()
            for name in self.subscription.topics:
                await layer.group_add(events.group(name), channel)
        try:
            # What happened before we were subscribed nobody told us.
            self.woken.set()
            while True:
                message = await layer.receive(channel)
                if message.get("topic") in self.subscription.topics:
                    self.forced.add(message["topic"])
                    self.woken.set()
        finally:
            with contextlib.suppress(Exception):
                for name in self.subscription.topics:
                    await layer.group_discard(events.group(name), channel)

    async def _serve(self) -> None:
        """Look, send, pause, wait; until the person may not look any more or the page falls silent."""
        try:
            await self._look_and_send_for_ever()
        except topics.SignedOut:
            await self.close(SIGNED_OUT)
        except topics.Gone:
            await self._send({"content": await _in_thread(topics.gone_html)})
            await self.close(GONE)
        except TimeoutError:
            await self.close(AGAIN)
        except Exception:
            logger.exception("a live page could not be rendered")
            await self.close(AGAIN)

    async def _look_and_send_for_ever(self) -> None:
        self.said_at = time.monotonic()
        polled_at = 0.0
        while True:
            now = time.monotonic()
            if now - self.heard_at > SILENCE_S:
                raise TimeoutError
            # A slow page is sent nothing more until it shows the last: it would lie behind by all that is on its way.
            if now - polled_at >= POLL_S or (self.woken.is_set() and self.shown.is_set()):
                forced, self.forced = self.forced, set()
                self.woken.clear()
                polled_at = now
                await self._look(forced)
            if time.monotonic() - self.said_at >= BEAT_S:
                await self._send({"beat": True})
            await asyncio.sleep(PAUSE_S)
            wait = min(polled_at + POLL_S, self.said_at + BEAT_S) - time.monotonic()
            word = self.woken if self.shown.is_set() else self.shown
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(word.wait(), max(wait, 0))

    async def _look(self, forced: set[str]) -> None:
        found = await _in_thread(topics.look, self.session_key, self.subscription, forced)
        if found.last:
            message: dict[str, Any] = {"last": found.last}
            if found.html:
                message["content"] = found.html
            if found.texts:
                message["texts"] = found.texts
            if self.subscription.acks:
                self.shown.clear()
            await self._send(message)
            self.subscription.last.update(found.last)
        if found.more:
            self.woken.set()

    async def _send(self, message: dict[str, Any]) -> None:
        self.said_at = time.monotonic()
        await self.send(text_data=json.dumps(message))


async def _in_thread(function: Any, *args: Any) -> Any:
    """Database and templates, away from the loop; many sockets may look at the same time."""
    return await database_sync_to_async(function, thread_sensitive=False)(*args)
