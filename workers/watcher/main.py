"""The loop: which hosts there are, which replicas; everything else happens on events."""

import asyncio
import logging
import time

from django.db.utils import DatabaseError

from webapp.operations import heartbeats
from workers.watcher import rows, sampling
from workers.watcher.cache import ReplicaCache
from workers.watcher.hosts import HostWatch

logger = logging.getLogger(__name__)

REFRESH_EVERY_S = 3.0
HOSTS_EVERY_S = 10.0


async def run() -> None:
    """Watch all hosts until cancelled."""
    installation = await _installation()
    cache = ReplicaCache()
    watches: dict[int, tuple[HostWatch, asyncio.Task[None]]] = {}
    hosts_read_at = said_at = float("-inf")
    samples = asyncio.create_task(sampling.run(cache))
    try:
        while True:
            try:
                if time.monotonic() - hosts_read_at >= HOSTS_EVERY_S:
                    _follow_hosts(await rows.call(rows.hosts), watches, cache, installation)
                    hosts_read_at = time.monotonic()
                began = time.monotonic()
                await cache.refresh_all()
                for watch, _task in watches.values():
                    await watch.tick()
                if time.monotonic() - said_at >= heartbeats.EVERY_S:
                    said_at = time.monotonic()
                    await rows.call(_say_alive, len(watches), said_at - began)
            except DatabaseError as error:
                logger.warning("the database does not answer: %s", error)
            await asyncio.sleep(REFRESH_EVERY_S)
    finally:
        tasks = [samples, *(task for _watch, task in watches.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _say_alive(hosts: int, round_s: float) -> None:
    heartbeats.beat("watcher", hosts=hosts, round_s=round(round_s, 3))


async def _installation() -> str:
    while True:
        try:
            return await rows.call(rows.installation)
        except DatabaseError as error:
            logger.warning("waiting for the database: %s", error)
            await asyncio.sleep(1)


def _follow_hosts(
    found: list[rows.HostRow],
    watches: dict[int, tuple[HostWatch, asyncio.Task[None]]],
    cache: ReplicaCache,
    installation: str,
) -> None:
    """Begin with new hosts, end with removed ones, begin again where the endpoint changed or the task died."""
    wanted = {host.id: host for host in found}
    for host_id, (watch, task) in list(watches.items()):
        if wanted.get(host_id) != watch.host or task.done():
            if task.done() and not task.cancelled() and task.exception() is not None:
                logger.error("watching %s failed", watch.host.name, exc_info=task.exception())
            task.cancel()
            del watches[host_id]
    for host in found:
        if host.id not in watches:
            watch = HostWatch(host, cache, installation)
            watches[host.id] = (watch, asyncio.create_task(watch.run()))
