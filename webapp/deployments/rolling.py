"""Carry out rollouts in the database: the only writer of rollouts' states and of which replicas are wanted.

`advance` touches no host: replicas that it adds or retires are brought there by their own reconcile loop.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils import timezone

from webapp.accounts.auditing import SYSTEM
from webapp.deployments import lifecycle, revisions, room
from webapp.deployments.models import Deployment, Replica, ReplicaEvent, Revision, Rollout
from webapp.deployments.rollout import Add, Finish, Goal, GoBack, Hold, Member, Rest, Retire, decide
from webapp.deployments.states import Desired, ReplicaState, RolloutState
from webapp.deployments.waking import RECONCILE, ROLL, topics
from webapp.foundation import work_queue
from webapp.foundation.events import services as events

# Every move of a replica looks at its rollout; this often somebody looks when such a message was lost.
LOOK_AGAIN_S = 10
MAX_STEPS = 50
# Replaced replicas whose logs stay readable.
KEEP_RETIRED = 8


def begin(
    deployment: Deployment, kind: str, revision: Revision, actor: str, may_gap: bool = False, reason: str = ""
) -> Rollout:
    """Want this revision from now on. Inside a transaction that holds the row (see `hold`); `advance` comes next."""
    number = deployment.last_generation + 1 if deployment.rollouts.exists() else deployment.generation
    now = timezone.now()
    deployment.rollouts.filter(state=RolloutState.RUNNING).update(state=RolloutState.SUPERSEDED, ended_at=now)
    started = Rollout.objects.create(
        deployment=deployment, number=number, revision=revision, kind=kind, actor=actor, may_gap=may_gap, reason=reason
    )
    deployment.last_generation = max(number, deployment.last_generation)
    _want(deployment, started)
    return started


def hold(deployment_id: int) -> Deployment | None:
    """The row, held until the transaction ends: whoever else wants to change the rollout waits here."""
    if not Deployment.objects.filter(pk=deployment_id).update(last_generation=F("last_generation")):
        return None
    related = ("team", "artifact", "host", "revision__artifact", "revision__host")
    return Deployment.objects.select_related(*related).get(pk=deployment_id)


def advance(deployment_id: int) -> None:
    """Bring the set of wanted replicas as far as it can go now. Safe to repeat at any time."""
    with transaction.atomic():
        deployment = hold(deployment_id)
        if deployment is None:
            return
        if deployment.desired_state == Desired.DELETED:
            lifecycle.finish_delete(deployment_id)
            return
        for _count in range(MAX_STEPS):
            step = decide(_goal(deployment), _members(deployment))
            if isinstance(step, (Hold, Rest)):
                break
            _DO[type(step)](deployment, step)
        if isinstance(step, Hold):
            _try_again(deployment)
        again_s = step.again_s if isinstance(step, Hold) else None
        if again_s is not None:
            transaction.on_commit(partial(work_queue.send, ROLL, deployment_id, again_s), robust=True)
        due = None if isinstance(step, Rest) else Now() + timedelta(seconds=again_s or LOOK_AGAIN_S)
        Deployment.objects.filter(pk=deployment_id).update(roll_due_at=due)


def _try_again(deployment: Deployment) -> None:
    """Whatever happened that had us look may have made room for those that wait for some."""
    for replica_id in deployment.replicas.filter(state="pending", reason_code="no_room").values_list("pk", flat=True):
        work_queue.enqueue(RECONCILE, replica_id)


def first(deployment: Deployment, actor: str) -> None:
    """Number what a new deployment runs, and make its replicas."""
    revision = revisions.write(deployment, deployment.spec, actor)
    begin(deployment, "create", revision, actor)
    advance(deployment.pk)


def wake_again(deployment_id: int) -> None:
    """Have a worker look at the rollout after the commit."""
    Deployment.objects.filter(pk=deployment_id).update(roll_due_at=Now())
    work_queue.enqueue(ROLL, deployment_id)


def current(deployment: Deployment) -> Rollout | None:
    """The rollout whose replicas are wanted."""
    return deployment.rollouts.select_related("revision").filter(number=deployment.generation).first()


def waits_for(deployment: Deployment) -> str:
    """What the rollout waits for, in words; empty when it goes on or rests."""
    step = decide(_goal(deployment), _members(deployment))
    return step.what if isinstance(step, Hold) else ""


def _goal(deployment: Deployment) -> Goal:
    rollout = current(deployment)
    is_rolling = rollout is not None and rollout.state == RolloutState.RUNNING
    may_gap = rollout is not None and rollout.may_gap
    is_mixed = may_gap and deployment.replicas.exclude(generation=deployment.generation).present().exists()
    return Goal(
        desired=Desired(deployment.desired_state),
        wanted=deployment.desired_replicas,
        generation=deployment.generation,
        is_rolling=is_rolling,
        can_go_back=is_rolling and last_good(deployment) is not None,
        may_gap=may_gap,
        has_room=not is_mixed or room.beside(deployment, deployment.spec),
        quiet_s=_quiet_s(deployment, rollout) if is_rolling and rollout else 0.0,
    )


def _quiet_s(deployment: Deployment, rollout: Rollout) -> float:
    """Seconds since anything of the wanted generation moved or loaded further."""
    newest = deployment.replicas.filter(generation=rollout.number).aggregate(
        moved=Max("state_at"), got=Max("progress_at")
    )
    dates: list[datetime] = [rollout.started_at, *(date for date in newest.values() if date is not None)]
    return (timezone.now() - max(dates)).total_seconds()


def _members(deployment: Deployment) -> list[Member]:
    return [_member(replica) for replica in deployment.replicas.present().order_by("number")]


def _member(replica: Replica) -> Member:
    waits = replica.state == ReplicaState.PENDING and replica.reason_code == "no_room"
    return Member(
        id=replica.pk,
        number=replica.number,
        generation=replica.generation,
        state=ReplicaState(replica.state),
        is_retired=replica.retired_at is not None,
        is_final=replica.next_due_at is None,
        crash_count=replica.crash_count,
        ready_s=(timezone.now() - replica.ready_at).total_seconds() if replica.ready_at else 0.0,
        reason=replica.reason,
        no_room_s=(timezone.now() - replica.state_at).total_seconds() if waits else None,
    )


def _add(deployment: Deployment, step: Add) -> None:
    used = deployment.replicas.aggregate(most=Max("number"))["most"] or 0
    last = max(deployment.last_replica, used)
    made = Replica.objects.bulk_create(
        Replica(
            deployment=deployment,
            number=last + index,
            generation=deployment.generation,
            revision=deployment.revision,
            next_due_at=Now(),
        )
        for index in range(1, step.count + 1)
    )
    deployment.last_replica = last + step.count
    deployment.save(update_fields=["last_replica"])
    for replica in made:
        work_queue.enqueue(RECONCILE, replica.pk)
    events.publish(*topics(deployment))


def _retire(deployment: Deployment, step: Retire) -> None:
    rows = deployment.replicas.filter(pk__in=step.ids, retired_at=None)
    for replica in rows.select_related("revision"):
        _write(deployment, f"lets replica #{replica.number} go: {step.why}", replica)
        work_queue.enqueue(RECONCILE, replica.pk)
    rows.update(retired_at=timezone.now(), next_due_at=Now())
    events.publish(*topics(deployment))


def _go_back(deployment: Deployment, step: GoBack) -> None:
    bad, good = current(deployment), last_good(deployment)
    assert bad is not None and good is not None
    Rollout.objects.filter(pk=bad.pk).update(
        state=RolloutState.FAILED, reason=step.why[:500], ended_at=timezone.now()
    )  # fmt: skip
    # What may be given up for it was decided when the change was asked for.
    Rollout.objects.filter(pk=good.pk).update(may_gap=bad.may_gap)
    said = f"gave revision {bad.revision.number} up, back to revision {good.revision.number}: {step.why}"
    _want(deployment, good)
    _write(deployment, said)
    events.publish(*topics(deployment))


def last_good(deployment: Deployment) -> Rollout | None:
    """The newest rollout before the wanted one that came to its end and whose files still exist."""
    done = deployment.rollouts.filter(
        state=RolloutState.DONE, number__lt=deployment.generation, revision__artifact__isnull=False
    )  # fmt: skip
    return done.select_related("revision__artifact", "revision__host").order_by("-number").first()


def _finish(deployment: Deployment, _step: Finish) -> None:
    rollout = current(deployment)
    assert rollout is not None
    Rollout.objects.filter(pk=rollout.pk).update(state=RolloutState.DONE, ended_at=timezone.now())
    took_s = (timezone.now() - rollout.started_at).total_seconds()
    _write(deployment, f"put revision {rollout.revision.number} into service, after {took_s:.0f} s")
    _forget(deployment)
    events.publish(*topics(deployment))


def _forget(deployment: Deployment) -> None:
    """Throw away what was replaced long ago, logs included."""
    ended = deployment.replicas.filter(retired_at__isnull=False, state=ReplicaState.STOPPED)
    surplus = ended.order_by("-retired_at", "-pk").values_list("pk", flat=True)[KEEP_RETIRED:]
    Replica.objects.filter(pk__in=list(surplus)).delete()


def _want(deployment: Deployment, rollout: Rollout) -> None:
    """Write the rollout's revision into the deployment's own columns: what is wanted now."""
    deployment.generation, deployment.revision = rollout.number, rollout.revision
    columns = rollout.revision.spec.columns()
    for name, value in columns.items():
        setattr(deployment, name, value)
    deployment.save(update_fields=["generation", "last_generation", "revision", *columns])


def _write(deployment: Deployment, text: str, replica: Replica | None = None) -> None:
    revision = replica.revision if replica else deployment.revision
    ReplicaEvent.objects.create(
        deployment=deployment,
        replica_number=replica.number if replica else None,
        revision_number=revision.number if revision else None,
        text=text[:500],
        actor=SYSTEM,
    )


_DO: dict[type, Callable[[Deployment, Any], None]] = {Add: _add, Retire: _retire, GoBack: _go_back, Finish: _finish}
