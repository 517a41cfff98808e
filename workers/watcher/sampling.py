"""Every ten seconds: what hosts, GPUs and replicas use. One round of questions, one short transaction."""

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.db.utils import DatabaseError

from webapp.deployments.states import ReplicaState
from webapp.engines import metrics as engine_metrics
from webapp.engines.base import ProbeSpec
from webapp.engines.metrics import Metrics
from webapp.inventory.models import Host
from webapp.samples import services
from webapp.samples.services import Reading
from workers.hosts import connection, place
from workers.hosts.asker import ask
from workers.hosts.client import HostClient
from workers.hosts.connection import HostConnection
from workers.runtime.base import ContainerMissing, RuntimeFault
from workers.watcher import readings, rows
from workers.watcher.cache import ReplicaCache
from workers.watcher.readings import Machine, Usage
from workers.watcher.rows import Target

logger = logging.getLogger(__name__)

S = ReplicaState

EVERY_S = 10
# A host that is slow to answer loses a sample; it does not hold up the others.
ROUND_WITHIN_S = 8.0
AT_ONCE = 8
THIN_OUT_EVERY_S = 60
HOSTS_EVERY_S = 60
SAMPLER = "modelyard-sampler"
# What a sampler printed longer ago says nothing about now.
SAMPLER_FRESH_S = 25.0
MEASURED = (S.STARTING, S.LOADING, S.READY, S.DRAINING)
ASKED = (S.READY, S.DRAINING)
# Whoever works on a request uses more CPU than that, on a GPU too. Below it nobody asks: some engines write a line into
# their log for every look at their metrics.
IDLE_CORES = 0.02
PROC = Path("/proc")


@dataclass(frozen=True)
class Place:
    """A host as sampling needs it: its GPUs' ids by uuid, and whether it is this very machine."""

    id: int
    name: str
    connection: HostConnection
    is_here: bool
    gpus: dict[str, int] = field(default_factory=dict)


@dataclass
class Memory:
    """Counters of the last round by subject, from which the next one makes rates."""

    counters: dict[tuple[str, int, int, int], tuple[float, dict[str, float]]] = field(default_factory=dict)

    def rates(self, subject: tuple[str, int, int, int], at: float, now: dict[str, float]) -> dict[str, float]:
        """Growth per second since the last round; nothing in the first one, nor for what began anew."""
        before = self.counters.get(subject)
        self.counters[subject] = (at, now)
        return engine_metrics.rates(before[1], now, at - before[0]) if before else {}

    def stand_still(self, subject: tuple[str, int, int, int], at: float) -> None:
        """Nothing has grown since the last round."""
        if subject in self.counters:
            self.counters[subject] = (at, self.counters[subject][1])

    def forget(self, before: float) -> None:
        """Let go of what was not seen for a while."""
        self.counters = {subject: seen for subject, seen in self.counters.items() if seen[0] >= before}


async def run(cache: ReplicaCache) -> None:
    """Sample until cancelled. Whatever goes wrong costs a round, never the loop."""
    memory = Memory()
    places: list[Place] = []
    read_at = thinned_at = -math.inf
    while True:
        await asyncio.sleep(EVERY_S - time.time() % EVERY_S)
        now = time.monotonic()
        try:
            if now - read_at >= HOSTS_EVERY_S:
                places, read_at = await rows.call(_places), now
            await rows.call(services.record, await measure(places, cache, memory))
            if now - thinned_at >= THIN_OUT_EVERY_S:
                await rows.call(services.thin_out)
                thinned_at = now
        except DatabaseError as error:
            logger.warning("samples were not stored: %s", error)
        except Exception:
            logger.exception("a round of samples failed")


async def measure(places: list[Place], cache: ReplicaCache, memory: Memory) -> list[Reading]:
    """One round over all hosts, side by side."""
    memory.forget(time.monotonic() - 10 * EVERY_S)
    found = await asyncio.gather(*(_host(each, cache.on_host(each.id), memory) for each in places))
    return [reading for part in found for reading in part]


async def _host(here: Place, targets: list[Target], memory: Memory) -> list[Reading]:
    found: list[Reading] = []
    targets = [target for target in targets if target.state in MEASURED]
    try:
        async with asyncio.timeout(ROUND_WITHIN_S):
            if here.is_here and not here.gpus:
                found += _machine(here, time.monotonic(), _local(), memory)
                if not targets:
                    return found
            async with here.connection.client(ROUND_WITHIN_S) as docker:
                if not here.is_here or here.gpus:
                    found += await _sampler(docker, here, memory)
                limit = asyncio.Semaphore(AT_ONCE)
                for reading in await asyncio.gather(*(_replica(docker, limit, each, memory) for each in targets)):
                    found += [reading] if reading.values else []
    except (RuntimeFault, OSError, ValueError) as error:
        logger.info("%s gave no samples: %s", here.name, str(error) or type(error).__name__)
    return found


def _local() -> Machine | None:
    """This machine, without a container."""
    try:
        return readings.machine((PROC / "stat").read_text(), (PROC / "meminfo").read_text())
    except OSError:
        return None


async def _sampler(docker: HostClient, here: Place, memory: Memory) -> list[Reading]:
    """The newest line of the host's sampler; nothing while it does not run yet."""
    try:
        line = await docker.last_line(SAMPLER)
    except ContainerMissing:
        return _machine(here, time.monotonic(), _local(), memory) if here.is_here else []
    said = readings.sampler_line(line)
    if said is None or abs(time.time() - said[0]) > SAMPLER_FRESH_S:
        return []
    return _machine(here, said[0], said[1], memory)


def _machine(here: Place, at: float, machine: Machine | None, memory: Memory) -> list[Reading]:
    if machine is None:
        return []
    found = [Reading("host", here.id, _values(("host", here.id, 0, 0), at, machine.usage, memory))]
    gpus = [(here.gpus[uuid], values) for uuid, values in machine.gpus.items() if uuid in here.gpus]
    return found + [Reading("accelerator", card, values) for card, values in gpus]


async def _replica(docker: HostClient, limit: asyncio.Semaphore, target: Target, memory: Memory) -> Reading:
    values: dict[str, float] = {}
    async with limit:
        with contextlib.suppress(RuntimeFault):
            usage = readings.container(await docker.stats(target.container_id)) if target.container_id else None
            if usage is not None:
                values |= _values(("replica", *target.run), time.monotonic(), usage, memory)
        if target.state in ASKED and target.engine.metrics is not None and target.reach:
            values |= await _engine(
                target, target.engine.metrics, memory, is_idle=values.get("cpu_cores", 1.0) < IDLE_CORES
            )
    return Reading("replica", target.id, values)


async def _engine(target: Target, names: Metrics, memory: Memory, is_idle: bool) -> dict[str, float]:
    """What the engine tells of itself; nothing when it is too busy to answer. An idle one is not asked."""
    subject, now = ("engine", *target.run), time.monotonic()
    if is_idle:
        memory.stand_still(subject, now)
        return {engine_metrics.RUNNING: 0.0, engine_metrics.WAITING: 0.0}
    assert target.reach is not None
    outcome = await ask(target.reach, ProbeSpec("GET", names.path, timeout_s=2.0))
    if outcome.status != 200:
        return {}
    text = outcome.body.decode(errors="replace")
    counted = memory.rates(subject, now, engine_metrics.counters(text, names))
    return {**engine_metrics.gauges(text, names), **counted}


def _values(subject: tuple[str, int, int, int], at: float, usage: Usage, memory: Memory) -> dict[str, float]:
    return {**usage.values, **memory.rates(subject, at, {"cpu_cores": usage.cpu_s})}


def _places() -> list[Place]:
    """In two queries."""
    return [
        Place(
            id=host.pk,
            name=host.name,
            connection=connection.of(host),
            is_here=place.is_this_machine(host),
            gpus={
                card.uuid: card.pk for card in host.accelerators.all() if card.is_present and card.vendor == "nvidia"
            },
        )
        for host in Host.objects.prefetch_related("accelerators").order_by("id")
    ]
