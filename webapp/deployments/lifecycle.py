"""The only writer of replicas' states: claim, move, place, record, release. Called by workers and the watcher."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from webapp.deployments.models import Deployment, LogChunk, Replica, ReplicaEvent
from webapp.deployments.services import topics
from webapp.deployments.states import Desired, ReplicaState, may_move
from webapp.events import services as events
from webapp.inventory import services as inventory

LEASE_S = 40
# A row that nothing happens to is looked at this often, so that lost events are noticed within 20 s.
LOOK_AGAIN_S = 12


@dataclass(frozen=True)
class Why:
    """The reason of a move, for people: what, and what to do about it."""

    code: str
    text: str
    advice: str = ""


def claim(replica_id: int) -> Replica | None:
    """Take the row for LEASE_S seconds, or None when somebody else holds it or it is gone.

    The returned replica carries the new epoch: a worker whose lease ran out can move nothing any more.
    """
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    won = Replica.objects.filter(free, pk=replica_id).update(
        lease_until=Now() + timedelta(seconds=LEASE_S), epoch=F("epoch") + 1
    )
    if not won:
        return None
    return (
        Replica.objects.select_related("deployment__team", "deployment__artifact", "deployment__host", "host")
        .filter(pk=replica_id)
        .first()
    )


def release(replica: Replica, due_in_s: float | None) -> None:
    """Give the row back and say when to look again; None: only when somebody asks.

    A wish that came in while the row was held has set an earlier due date, which stays.
    """
    held = Replica.objects.filter(pk=replica.pk, epoch=replica.epoch)
    if due_in_s is None:
        held.filter(Q(next_due_at=None) | Q(next_due_at=replica.next_due_at)).update(next_due_at=None)
    else:
        due = Now() + timedelta(seconds=due_in_s)
        held.filter(Q(next_due_at=None) | Q(next_due_at=replica.next_due_at)).update(next_due_at=due)
    held.update(lease_until=None)


def move(replica: Replica, old: ReplicaState, new: ReplicaState, why: Why, **columns: Any) -> bool:
    """Change the state if it is still `old`; write the diary in the same transaction; publish after it.

    `columns` are written with it. False means somebody was first, which is normal: look again and decide anew.
    A replica that came from `claim` moves only while its claim holds (same epoch).
    Raises ValueError for a move that the table does not allow.
    """
    if not may_move(old, new):
        raise ValueError(f"a replica may not go from {old} to {new}")
    with transaction.atomic():
        rows = Replica.objects.filter(pk=replica.pk, state=old, epoch=replica.epoch)
        changed = rows.update(
            state=new,
            state_at=timezone.now(),
            reason_code=why.code,
            reason=why.text[:500],
            advice=why.advice[:500],
            **columns,
        )
        if not changed:
            return False
        ReplicaEvent.objects.create(
            deployment_id=replica.deployment_id,
            replica_number=replica.number,
            old_state=old,
            new_state=new,
            reason_code=why.code,
            text=why.text[:500],
        )
        events.publish(*topics(replica.deployment))
    replica.refresh_from_db()
    return True


def note(replica: Replica, **columns: Any) -> bool:
    """Write columns that are no state (seen, due, missing ...), while the claim holds."""
    changed = Replica.objects.filter(pk=replica.pk, epoch=replica.epoch).update(**columns)
    for name, value in columns.items():
        setattr(replica, name, value)
    return bool(changed)


def record_progress(replica_id: int, fraction: float | None, text: str) -> None:
    """How far the engine has come with loading: 0 to 1, or None when it does not say."""
    with transaction.atomic():
        rows = Replica.objects.filter(pk=replica_id, state__in=[ReplicaState.PULLING, ReplicaState.LOADING])
        if rows.exclude(progress=fraction, progress_text=text[:200]).update(
            progress=fraction, progress_text=text[:200]
        ):
            replica = Replica.objects.select_related("deployment").get(pk=replica_id)
            events.publish(f"deployment:{replica.deployment_id}")


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


def finish_stop(replica: Replica, old: ReplicaState, why: Why) -> bool:
    """The container is gone: give back memory and address and rest; the last stopped replica ends a deletion."""
    with transaction.atomic():
        moved = move(
            replica, old, ReplicaState.STOPPED, why,
            host=None, address="", container_id="", kill_after=None, stop_requested_at=None, missing_since=None,
            ready_at=None, proven_at=None, progress=None, progress_text="", crash_count=0, next_due_at=None,
        )  # fmt: skip
        if moved:
            inventory.release(replica.holder)
    return moved


def finish_delete(deployment_id: int) -> bool:
    """Remove the row of a deployment that is to be deleted once all its replicas have stopped."""
    with transaction.atomic():
        deployment = Deployment.objects.filter(pk=deployment_id, desired_state=Desired.DELETED).first()
        if deployment is None or deployment.replicas.exclude(state=ReplicaState.STOPPED).exists():
            return False
        announced = topics(deployment)
        deployment.delete()
        events.publish(*announced)
    return True
