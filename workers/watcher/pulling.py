"""Pull the image of a replica that waits for it, and say how far it is."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any, cast

import aiodocker
import aiohttp

from workers.watcher import rows
from workers.watcher.rows import Target

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0
# Registries that cannot be reached answer nothing at all; a pull that moves goes on for as long as it moves.
SILENCE_S = 120.0


async def pull(docker: aiodocker.Docker, target: Target) -> None:
    """Pull `target.image`; afterwards the workers look again, whatever came of it."""
    layers: dict[str, tuple[int, int]] = {}
    reported_at = 0.0
    try:
        stream = cast(AsyncGenerator[dict[str, Any], None], docker.images.pull(target.image, stream=True))
        async with contextlib.aclosing(stream):
            while (line := await asyncio.wait_for(anext(stream, None), SILENCE_S)) is not None:
                _count(layers, line)
                if time.monotonic() - reported_at >= REPORT_EVERY_S:
                    reported_at = time.monotonic()
                    await rows.call(rows.record_engine_facts, target.id, None, _progress(target.image, layers))
    except (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
        text = getattr(error, "message", "") or str(error) or "the registry did not answer"
        logger.warning("replica %s: pulling %s: %s", target.id, target.image, text)
        await rows.call(rows.record_pull_failed, target, text)
        return
    except asyncio.CancelledError:
        logger.info("replica %s: pulling %s was broken off", target.id, target.image)
        raise
    await rows.call(rows.wake_replicas, {target.id})


def _count(layers: dict[str, tuple[int, int]], line: dict[str, object]) -> None:
    detail, layer = line.get("progressDetail"), line.get("id")
    if line.get("status") == "Downloading" and isinstance(detail, dict) and isinstance(layer, str):
        layers[layer] = (int(detail.get("current") or 0), int(detail.get("total") or 0))


def _progress(image: str, layers: dict[str, tuple[int, int]]) -> tuple[float | None, str]:
    done = sum(current for current, _total in layers.values())
    total = sum(total for _current, total in layers.values())
    text = f"pulling {image}: {done / 1e6:.0f} of {total / 1e6:.0f} MB so far" if total else f"pulling {image}"
    return (done / total if total else None), text
