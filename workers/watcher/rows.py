"""What the watcher reads and writes in the database: plain functions that `call` runs beside the loop."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import close_old_connections
from django.db import connection as database
from django.db.utils import DatabaseError
from django.utils import timezone

from webapp import engines
from webapp.deployments import lifecycle, workload
from webapp.deployments.lifecycle import Reason
from webapp.deployments.models import LogChunk, Replica
from webapp.deployments.services import RECONCILE as RECONCILE_REPLICA
from webapp.deployments.states import ReplicaState
from webapp.engines.base import Engine
from webapp.foundation import work_queue
from webapp.foundation.reach import Address, Reach
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.jobs import logs as job_logs
from webapp.jobs import services as jobs
from webapp.jobs.services import RECONCILE as RECONCILE_JOB
from workers.hosts import connection
from workers.hosts.connection import HostConnection

logger = logging.getLogger(__name__)

T = TypeVar("T")
# One step of one attempt: (job id, attempt, step counted from 1).
JobRun = tuple[int, int, int]
S = ReplicaState

# One thread: one database connection, and writes of one watcher never wait for each other.
_thread = ThreadPoolExecutor(1, thread_name_prefix="rows")
_RELATED = ("deployment__artifact", "revision__artifact")
WATCHED = (S.PULLING, S.STARTING, S.LOADING, S.READY, S.PAUSED, S.DRAINING, S.STOPPING, S.LOST)


async def call(function: Callable[..., T], *arguments: Any) -> T:
    """Run a database function beside the loop. Raises DatabaseError as it comes; the next call reconnects."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _guarded, function, *arguments)


def _guarded(function: Callable[..., T], *arguments: Any) -> T:
    close_old_connections()
    try:
        return function(*arguments)
    except DatabaseError:
        database.close()
        raise


@dataclass(frozen=True, slots=True)
class HostRow:
    id: int
    name: str
    connection: HostConnection


@dataclass(frozen=True, slots=True)
class Target:
    """A replica as the watcher needs it."""

    id: int
    host_id: int
    state: ReplicaState
    engine: Engine
    options: Any
    image: str
    reach: Reach | None
    upstream_model: str
    generation: int
    attempt: int
    container_id: str
    proven_at: datetime | None
    has_told_capabilities: bool = False

    @property
    def run(self) -> tuple[int, int, int]:
        """Which run of which replica: probes and logs of one run end with it."""
        return (self.id, self.generation, self.attempt)


def installation() -> str:
    return str(inventory.installation().pk)


def hosts() -> list[HostRow]:
    rows = Host.objects.defer("facts").order_by("id")
    return [HostRow(host.pk, host.name, connection.of(host)) for host in rows]


def targets() -> list[Target]:
    """Every replica that has something to watch, in one query."""
    rows = Replica.objects.filter(state__in=[state.value for state in WATCHED], host__isnull=False)
    return [_target(row) for row in rows.select_related(*_RELATED)]


def target(replica_id: int) -> Target | None:
    row = Replica.objects.select_related(*_RELATED).filter(pk=replica_id, host__isnull=False).first()
    return _target(row) if row is not None else None


def _target(row: Replica) -> Target:
    contents = row.contents
    engine = engines.get(contents.engine)
    assert contents.artifact is not None, "a revision without its artifact is passed over"
    try:
        options = workload.settled_options(contents.engine, contents.options, contents.artifact.facts)
    except ValueError:
        options = None
    return Target(
        id=row.pk,
        host_id=row.host_id or 0,
        state=S(row.state),
        engine=engine,
        options=options,
        image=row.image,
        reach=_reach(row, engine),
        upstream_model=row.upstream_model or row.deployment.name,
        generation=row.generation,
        attempt=row.attempt,
        container_id=row.container_id,
        proven_at=row.proven_at,
        has_told_capabilities=bool(row.capabilities),
    )


def _reach(row: Replica, engine: Engine) -> Reach | None:
    """One that was taken over before its port was written down listens on its engine's own."""
    reach = row.reach
    if reach is None or row.socket or row.port:
        return reach
    return Reach(reach.host_id, Address(row.address, engine.port))


def mark_ready(seen: Target, capabilities: dict[str, Any]) -> bool:
    """The run has answered a real request: loading -> ready. False when the row is not (or no longer) loading it."""
    row = _row_of(seen, S.LOADING)
    if row is None:
        return False
    now = timezone.now()
    return lifecycle.move(
        row, S.LOADING, S.READY, Reason("", "passed the health check (a test completion)"),
        ready_at=now, proven_at=now, progress=None, progress_text="", capabilities=capabilities,
    )  # fmt: skip


def record_answer(seen: Target, text: str) -> None:
    """What the engine answered instead of serving, as the reason why it is still loading."""
    lifecycle.record_answer(seen.id, seen.generation, seen.attempt, text)


def record_capabilities(seen: Target, capabilities: dict[str, Any]) -> None:
    lifecycle.record_capabilities(seen.id, capabilities)


def mark_unwell(seen: Target, text: str) -> bool:
    """It stopped answering: ready -> loading, so that no request goes there until it proves itself again."""
    row = _row_of(seen, S.READY)
    if row is None:
        return False
    why = Reason(lifecycle.UNHEALTHY, text, "It is restarted unless it answers soon.")
    return lifecycle.move(row, S.READY, S.LOADING, why, ready_at=None, proven_at=None, progress_at=timezone.now())


def _row_of(seen: Target, state: ReplicaState) -> Replica | None:
    rows = Replica.objects.select_related("deployment", "revision").filter(pk=seen.id, state=state)
    return rows.filter(generation=seen.generation, attempt=seen.attempt).first()


def record_pull_failed(seen: Target, text: str) -> None:
    """The image could not be had: pulling -> failed, tried again later."""
    row = _row_of(seen, S.PULLING)
    if row is not None:
        why = Reason(
            "image_missing",
            f"The image {seen.image} could not be pulled: {text}"[:480],
            "Check the image name and the host's access to its registry, or `docker load` the image there.",
        )
        lifecycle.record_crash(row, why, retry=True, counts=True, has_run=False)
        wake_replica_later(row)


def wake_replica_later(row: Replica) -> None:
    if row.next_due_at is not None:
        work_queue.send(RECONCILE_REPLICA, row.pk, in_s=max(0.1, (row.next_due_at - timezone.now()).total_seconds()))


def log_until(run: tuple[int, int, int]) -> str:
    """Docker's date of the last stored line of this run, "" when there is none."""
    replica_id, generation, attempt = run
    chunks = LogChunk.objects.filter(replica_id=replica_id, generation=generation, attempt=attempt)
    return chunks.order_by("-offset").values_list("until", flat=True).first() or ""


def append_log(run: tuple[int, int, int], text: str, until: str) -> None:
    if Replica.objects.filter(pk=run[0]).exists():  # its deployment may have been deleted meanwhile
        lifecycle.append_log(*run, text, until)


def record_engine_facts(
    replica_id: int, sizes: dict[str, int] | None, progress: tuple[float | None, str] | None
) -> None:
    if sizes:
        lifecycle.record_observed(replica_id, sizes)
    if progress:
        lifecycle.record_progress(replica_id, *progress)


def job_log_until(run: JobRun) -> str:
    """Docker's date of the last stored line of this step's container, "" when there is none."""
    return job_logs.until(*run)


def append_job_log(run: JobRun, text: str, until: str) -> None:
    job_logs.append(*run, text, until)


def record_job_progress(
    job_id: int, step: str, done: int | None, total: int | None, unit: str, speed: float | None, message: str
) -> None:
    jobs.record_progress(job_id, step, done, total, unit, speed, message)


def wake_replicas(ids: set[int]) -> None:
    for replica_id in ids:
        work_queue.send(RECONCILE_REPLICA, replica_id)


def wake_jobs(ids: set[int]) -> None:
    for job_id in ids:
        work_queue.send(RECONCILE_JOB, job_id)


def wake_host(host_id: int, labelled: tuple[set[int], set[int]]) -> None:
    """Have everything looked at that is on the host by the database or by the labels found there."""
    replica_ids, job_ids = labelled
    rows = Replica.objects.on_host(host_id).exclude(state=S.STOPPED).values_list("pk", flat=True)
    wake_replicas(replica_ids | set(rows))
    wake_jobs(job_ids)


def record_host_lost(host_id: int, text: str) -> None:
    inventory.record_lost(host_id, text)


def record_host_back(host_id: int, lost_for_s: float) -> None:
    """Contact is back. A break that nobody else noticed is written down too: containers may have ended in it."""
    now = timezone.now()
    inventory.record_interruption(host_id, now - timedelta(seconds=lost_for_s), now)
    work_queue.send(inventory.PROBE, host_id)


def record_proof(replica_id: int) -> None:
    lifecycle.record_proof(replica_id)
