"""Pull the image of a replica that waits for it, and say how far it is."""

import asyncio
import contextlib
import logging
import time

from workers.hosts import images
from workers.hosts.client import HostClient
from workers.hosts.images import Pulled
from workers.runtime.base import RuntimeFault
from workers.watcher import rows
from workers.watcher.rows import Target

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0


async def pull(client: HostClient, target: Target) -> None:
    """Pull `target.image`; afterwards the workers look again, whatever came of it."""
    reported_at = 0.0
    try:
        async with contextlib.aclosing(images.pull(client, target.image)) as progress:
            async for pulled in progress:
                if time.monotonic() - reported_at >= REPORT_EVERY_S:
                    reported_at = time.monotonic()
                    await rows.call(rows.record_engine_facts, target.id, None, _words(target.image, pulled))
    except RuntimeFault as fault:
        logger.warning("replica %s: pulling %s: %s", target.id, target.image, fault)
        await rows.call(rows.record_pull_failed, target, str(fault))
        return
    except asyncio.CancelledError:
        logger.info("replica %s: pulling %s was broken off", target.id, target.image)
        raise
    await rows.call(rows.wake_replicas, {target.id})


def _words(image: str, pulled: Pulled) -> tuple[float | None, str]:
    done, total = pulled.done_bytes, pulled.total_bytes
    text = f"pulling {image}: {done / 1e6:.0f} of {total / 1e6:.0f} MB so far" if total else f"pulling {image}"
    return (done / total if total else None), text
