"""What becomes of a replica: its moves, its place, its crashes and its log. Called by workers and the watcher."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from webapp.catalog import services as catalog
from webapp.control import lease
from webapp.control.kinds import Kind
from webapp.control.moves import States
from webapp.deployments.models import Deployment, LogChunk, Replica, ReplicaEvent
from webapp.deployments.states import BACKOFF_RESET_AFTER_READY_S, MOVES, Desired, ReplicaState, backoff_s
from webapp.deployments.waking import RECONCILE, ROLL, topics
from webapp.foundation import work_queue
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import ROUTES
from webapp.foundation.text import one_line
from webapp.inventory import services as inventory
from webapp.inventory.models import Host

# Moves after which a rollout may have something to do; the rest it sees when it looks by itself.
TELLS_ROLLOUTS = frozenset({ReplicaState.READY, ReplicaState.FAILED, ReplicaState.STOPPED})


# The reason of a replica that loads: its engine answers, and not as it should.
NOT_SERVING = "not_serving"
# The same of one that was ready before.
UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class Reason:
    """The reason of a move, for people: what, and what to do about it."""

    code: str
    text: str
    advice: str = ""


class _Replicas(States[Replica]):
    model = Replica
    moves = MOVES

    def moved(self, row: Replica, old: ReplicaState, new: ReplicaState, reason: str) -> None:
        """One line of history, and word to pages, gateways and the rollout."""
        ReplicaEvent.objects.create(
            deployment_id=row.deployment_id,
            replica_ordinal=row.number,
            revision_number=row.revision.number if row.revision else None,
            old_state=old,
            new_state=new,
            reason_code=row.reason_code,
            text=reason,
        )
        files = row.contents.artifact_id
        if ReplicaState.READY in (old, new) and files is not None:
            catalog.note_use([files])
        events.publish(*topics(row.deployment))
        if new in TELLS_ROLLOUTS and Deployment.objects.rolling().filter(pk=row.deployment_id).exists():
            work_queue.enqueue(ROLL, row.deployment_id)


STATES = _Replicas()
REPLICA = Kind(
    Replica, RECONCILE, ("deployment__team", "deployment__artifact", "revision__artifact", "host"),
    lane=inventory.HOST_LANE,
)  # fmt: skip


def move(replica: Replica, old: ReplicaState, new: ReplicaState, why: Reason, **columns: Any) -> bool:
    """Change the state with its reason; see States.move."""
    return STATES.move(replica, old, new, why.text, **{"reason_code": why.code, "advice": why.advice[:500], **columns})


@dataclass(frozen=True)
class Place:
    """Where a replica goes and what it is given there."""

    host: Host
    host_bytes: int
    accelerators: dict[int, int]
    grant: dict[str, Any]
    estimate: list[dict[str, Any]]


def place(replica: Replica, where: Place) -> bool:
    """Reserve memory, and where engines have a network an address; go from pending to placing, all or nothing.

    Raises NotEnoughMemory or Conflict when somebody else was faster.
    """
    with transaction.atomic():
        inventory.reserve(replica.reservation_owner, where.host.pk, where.host_bytes, where.accelerators)
        address = (
            replica.own_socket
            if where.host.is_isolated
            else inventory.reserve_address(replica.reservation_owner, where.host)
        )
        moved = move(
            replica, ReplicaState.PENDING, ReplicaState.PLACING, Reason("", f"placed on {where.host.name}"),
            host=where.host, address=address, estimate=where.estimate, grant=where.grant, container_id="", container="",
            image="", missing_since=None, stop_requested_at=None, kill_after=None,
            progress=None, progress_text="", progress_at=None, observed={},
        )  # fmt: skip
        if not moved:
            transaction.set_rollback(True)
    return moved


def record_waiting(replica: Replica, why: Reason) -> None:
    """Why a pending replica waits; said once, and pages are told when it changes."""
    with transaction.atomic():
        rows = Replica.objects.filter(pk=replica.pk, state=ReplicaState.PENDING, epoch=replica.epoch)
        told = {"reason_code": why.code, "reason": one_line(why.text)[:500], "advice": one_line(why.advice)[:500]}
        if rows.exclude(**told).update(**told):
            events.publish(*topics(replica.deployment))


def begin_again(replica: Replica, old: ReplicaState, why: Reason) -> bool:
    """Give back what the last attempt held and wait for a place, as the next attempt."""
    with transaction.atomic():
        moved = move(
            replica, old, ReplicaState.PENDING, why,
            attempt=replica.attempt + 1, host=None, address="",
            container_id="", container="", missing_since=None, stop_requested_at=None, kill_after=None,
            ready_at=None, proven_at=None, progress=None, progress_text="", progress_at=None, observed={},
            next_due_at=Now(),
        )  # fmt: skip
        if moved:
            inventory.release(replica.reservation_owner)
    return moved


def adopt(replica: Replica, container_id: str, generation: int, attempt: int, address: str) -> bool:
    """The host runs a later attempt than the row knows of (the database is older): go on with that one."""
    assert replica.host is not None
    with transaction.atomic():
        noted = lease.note(
            replica, container_id=container_id, container="", generation=generation, attempt=attempt, address=address,
            missing_since=None,
        )  # fmt: skip
        if noted and address and not address.startswith("/"):
            inventory.take_address(replica.reservation_owner, replica.host, address)
    return noted


def record_crash(replica: Replica, why: Reason, retry: bool, counts: bool, has_run: bool = True) -> bool:
    """The replica is not serving any more: say why and when it is tried again; a person must help when not `retry`.

    A death that is not the engine's doing does not count. The waits grow (states.BACKOFF_S) until the replica has
    been ready for a while; what failed before anything ran (`has_run`) is no crash, and its waits grow as well.
    """
    before = 0 if _was_ready_for_long(replica) else replica.crash_count
    crashes, failed_starts = before, replica.failed_starts
    if counts and has_run:
        crashes, failed_starts = before + 1, 0
    elif counts:
        failed_starts += 1
    wait_s = backoff_s(crashes if has_run else failed_starts) if counts else 1
    with transaction.atomic():
        moved = move(
            replica, ReplicaState(replica.state), ReplicaState.FAILED, why,
            crash_count=crashes, failed_starts=failed_starts, ready_at=None, proven_at=None, missing_since=None,
            stop_requested_at=None, kill_after=None,
            next_due_at=timezone.now() + timedelta(seconds=wait_s) if retry else None,
        )  # fmt: skip
        if moved and not retry:
            # Nobody will start it without a person's word: others may have the memory.
            inventory.release(replica.reservation_owner)
            # That word may just have been written, and the date that it set is gone now.
            lease.call(REPLICA.rows(), replica.pk)
    return moved


def _was_ready_for_long(replica: Replica) -> bool:
    if replica.ready_at is None:
        return False
    return (timezone.now() - replica.ready_at).total_seconds() >= BACKOFF_RESET_AFTER_READY_S


def record_progress(replica_id: int, fraction: float | None, text: str) -> None:
    """How far the engine has come with loading: 0 to 1, or None when it does not say."""
    with transaction.atomic():
        rows = Replica.objects.filter(
            pk=replica_id, state__in=[ReplicaState.PULLING, ReplicaState.STARTING, ReplicaState.LOADING]
        )
        # The date tells a slow load from one that is stuck.
        columns = {"progress": fraction, "progress_text": text[:200], "progress_at": timezone.now()}
        if rows.exclude(progress=fraction, progress_text=text[:200]).update(**columns):
            replica = Replica.objects.select_related("deployment").get(pk=replica_id)
            events.publish(f"deployment:{replica.deployment_id}")


def record_answer(replica_id: int, generation: int, attempt: int, text: str) -> None:
    """What the engine answered to the question whether it serves, as the reason while it loads; said once."""
    with transaction.atomic():
        rows = Replica.objects.filter(pk=replica_id, generation=generation, attempt=attempt, state=ReplicaState.LOADING)
        told = {"reason_code": NOT_SERVING, "reason": text[:500]}
        # That it became unwell decides how long it has: the code stays.
        unwell = rows.filter(reason_code=UNHEALTHY).exclude(reason=text[:500]).update(reason=text[:500])
        if unwell or rows.exclude(reason_code=UNHEALTHY).exclude(**told).update(**told):
            replica = Replica.objects.select_related("deployment").get(pk=replica_id)
            events.publish(*(topic for topic in topics(replica.deployment) if topic != ROUTES))


def record_capabilities(replica_id: int, found: dict[str, Any]) -> None:
    """What a ready engine says that it can do; gateways are told."""
    with transaction.atomic():
        if Replica.objects.filter(pk=replica_id).exclude(capabilities=found).update(capabilities=found):
            replica = Replica.objects.select_related("deployment").get(pk=replica_id)
            events.publish(*topics(replica.deployment))


def record_observed(replica_id: int, sizes: dict[str, int]) -> None:
    """Buffer sizes in bytes as the engine reported them, to be set beside the estimate."""
    Replica.objects.filter(pk=replica_id).update(observed=sizes)


def record_proof(replica_id: int) -> None:
    """The replica has just answered a real request."""
    Replica.objects.filter(pk=replica_id).update(proven_at=timezone.now())


def append_log(replica_id: int, generation: int, attempt: int, text: str, until: str) -> None:
    """Store a piece of log; `until` is Docker's timestamp of its last line."""
    if not text:
        return
    with transaction.atomic():
        chunks = LogChunk.objects.filter(replica_id=replica_id, generation=generation, attempt=attempt)
        last = chunks.order_by("-offset").first()
        offset = last.offset + len(last.text) if last else 0
        LogChunk.objects.create(
            replica_id=replica_id, generation=generation, attempt=attempt, offset=offset, text=text, until=until
        )
        events.publish(f"replica-log:{replica_id}")
    _trim_log(replica_id)


LOG_KEEP_CHUNKS = 400


def _trim_log(replica_id: int) -> None:
    """Keep the newest chunks of a replica over all attempts."""
    surplus = (
        LogChunk.objects.filter(replica_id=replica_id).order_by("-id").values_list("pk", flat=True)[LOG_KEEP_CHUNKS:]
    )
    stale = list(surplus[:200])
    if stale:
        LogChunk.objects.filter(pk__in=stale).delete()


def finish_stop(replica: Replica, old: ReplicaState, why: Reason) -> bool:
    """The container is gone: give back memory and address and rest; the last stopped replica ends a deletion."""
    with transaction.atomic():
        # One look more, whoever takes it: a deletion still wants its row removed, and a request of this moment is seen.
        moved = move(
            replica, old, ReplicaState.STOPPED, why,
            host=None, address="", container_id="", container="", kill_after=None, stop_requested_at=None,
            missing_since=None, ready_at=None, proven_at=None, progress=None, progress_text="", crash_count=0,
            failed_starts=0, next_due_at=Now(), observed={},
        )  # fmt: skip
        if moved:
            inventory.release(replica.reservation_owner)
    return moved


def finish_delete(deployment_id: int) -> bool:
    """Remove the row of a deployment that is to be deleted once all its replicas have stopped."""
    with transaction.atomic():
        deployment = Deployment.objects.filter(pk=deployment_id, desired_state=Desired.DELETED).first()
        if deployment is None or deployment.replicas.exclude(state=ReplicaState.STOPPED).exists():
            return False
        announced = topics(deployment)
        deployment.delete()
        catalog.forget_left(deployment.artifact_id)
        events.publish(*announced)
    return True
