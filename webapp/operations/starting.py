"""The question every process asks before it starts: does the database's schema fit?"""

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from channels.db import database_sync_to_async
from django.db import DatabaseError

from webapp.operations import schema

logger = logging.getLogger(__name__)

App = Callable[[Any, Any, Any], Awaitable[None]]


def refuse_unfit_schema() -> None:
    """End this process with one sentence when the schema does not fit.

    A database that does not answer is no reason to end: that heals, and every process waits for it in its own way.
    """
    why = _why()
    if why:
        sys.stderr.write(f"{why}\n")
        raise SystemExit(1)


def _why() -> str | None:
    try:
        return schema.refusal()
    except DatabaseError as error:
        logger.warning("the schema could not be checked: %s", error)
        return None


class Starting:
    """ASGI application around another: says no at the server's start when the schema does not fit."""

    def __init__(self, inner: App) -> None:
        self.inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.inner(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await send({"type": "lifespan.shutdown.complete"})
                return
            why = await database_sync_to_async(_why)()
            if why:
                await send({"type": "lifespan.startup.failed", "message": why})
                return
            await send({"type": "lifespan.startup.complete"})
