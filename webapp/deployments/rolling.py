"""Carry out rollouts in the database: which replicas are wanted next.

No host is touched: replicas that are added or retired are brought there by their own control loop. People's verbs go
on with the rollout in their own transaction (`advance`), workers come by the loop (`CONTROLLER`); the deployment's row
is held for the length of each step, so neither decides on what the other is changing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils import timezone

from webapp.accounts.auditing import SYSTEM
from webapp.control import loop
from webapp.control.kinds import Kind
from webapp.control.loop import Controller
from webapp.control.moves import States
from webapp.control.steps import GO_ON, LOOK_AGAIN_S, Pause
from webapp.deployments import lifecycle, revisions, surge
from webapp.deployments.models import Deployment, Replica, ReplicaEvent, Revision, Rollout
from webapp.deployments.rollout import Add, Finish, Goal, GoBack, Hold, Member, Rest, Retire, Step, decide
from webapp.deployments.states import ROLLOUT_MOVES, Desired, ReplicaState, RolloutState
from webapp.deployments.waking import RECONCILE, ROLL, topics
from webapp.foundation import work_queue
from webapp.foundation.events import services as events

# Replaced replicas whose logs stay readable.
KEEP_RETIRED = 8


class _Rollouts(States[Rollout]):
    model = Rollout
    moves = ROLLOUT_MOVES

    def columns(self, row: Rollout, old: RolloutState, new: RolloutState) -> dict[str, Any]:
        return {"ended_at": timezone.now()}


STATES = _Rollouts()


@dataclass(frozen=True)
class Delete:
    """The deployment is to go: its row follows its last stopped replica."""


def begin(
    deployment: Deployment, kind: str, revision: Revision, actor: str, allow_downtime: bool = False, reason: str = ""
) -> Rollout:
    """Want this revision from now on. Inside a transaction that holds the row (see `hold`); `advance` comes next."""
    number = deployment.last_generation + 1 if deployment.rollouts.exists() else deployment.generation
    for before in deployment.rollouts.filter(state=RolloutState.RUNNING):
        STATES.move(before, RolloutState.RUNNING, RolloutState.SUPERSEDED, before.reason)
    started = Rollout.objects.create(
        deployment=deployment,
        number=number,
        revision=revision,
        kind=kind,
        actor=actor,
        allow_downtime=allow_downtime,
        reason=reason,
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
        if deployment is not None:
            _schedule(deployment_id, loop.settle(CONTROLLER, deployment))


def _hold(deployment: Deployment) -> Deployment | None:
    return hold(deployment.pk)


def _look(deployment: Deployment) -> tuple[Goal, list[Member]] | None:
    """What is wanted and what there is; None: it is to go."""
    return None if deployment.desired_state == Desired.DELETED else (_goal(deployment), _members(deployment))


def _decide(_deployment: Deployment, observed: tuple[Goal, list[Member]] | None) -> Step | Delete:
    return Delete() if observed is None else decide(*observed)


def _carry_out(step: Any, deployment: Deployment) -> Pause:
    return _DO[type(step)](deployment, step)


def _delete(deployment: Deployment, _step: Delete) -> Pause:
    lifecycle.finish_delete(deployment.pk)
    return None


def _hold_on(deployment: Deployment, step: Hold) -> Pause:
    _try_again(deployment)
    return LOOK_AGAIN_S if step.again_s is None else step.again_s


def _rest(_deployment: Deployment, _step: Rest) -> Pause:
    return None


def _schedule(deployment_id: int, pause: Pause) -> None:
    """What a release does for a worker that holds a lease: set the date, and be there in time."""
    due = None if pause is None else Now() + timedelta(seconds=pause)
    Deployment.objects.filter(pk=deployment_id).update(next_due_at=due)
    if pause is not None and pause != LOOK_AGAIN_S:
        transaction.on_commit(partial(work_queue.send, ROLL, deployment_id, pause), robust=True)


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
    Deployment.objects.filter(pk=deployment_id).update(next_due_at=Now())
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
    allow_downtime = rollout is not None and rollout.allow_downtime
    is_mixed = allow_downtime and deployment.replicas.exclude(generation=deployment.generation).present().exists()
    return Goal(
        desired=Desired(deployment.desired_state),
        wanted=deployment.desired_replicas,
        generation=deployment.generation,
        is_rolling=is_rolling,
        can_go_back=is_rolling and last_good(deployment) is not None,
        allow_downtime=allow_downtime,
        has_room=not is_mixed or surge.beside(deployment, deployment.spec),
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
        failed_starts=replica.failed_starts,
        ready_s=(timezone.now() - replica.ready_at).total_seconds() if replica.ready_at else 0.0,
        reason=replica.reason,
        no_room_s=(timezone.now() - replica.state_at).total_seconds() if waits else None,
    )


def _add(deployment: Deployment, step: Add) -> Pause:
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
    return GO_ON


def _retire(deployment: Deployment, step: Retire) -> Pause:
    rows = deployment.replicas.filter(pk__in=step.ids, retired_at=None)
    for replica in rows.select_related("revision"):
        _write(deployment, f"removes replica #{replica.number}: {step.why}", replica)
        work_queue.enqueue(RECONCILE, replica.pk)
    rows.update(retired_at=timezone.now(), next_due_at=Now())
    events.publish(*topics(deployment))
    return GO_ON


def _go_back(deployment: Deployment, step: GoBack) -> Pause:
    bad, good = current(deployment), last_good(deployment)
    assert bad is not None and good is not None
    STATES.move(bad, RolloutState.RUNNING, RolloutState.FAILED, step.why)
    # What may be given up for it was decided when the change was asked for.
    Rollout.objects.filter(pk=good.pk).update(allow_downtime=bad.allow_downtime)
    said = f"rolled back from revision {bad.revision.number} to {good.revision.number}: {step.why}"
    _want(deployment, good)
    _write(deployment, said)
    events.publish(*topics(deployment))
    return GO_ON


def last_good(deployment: Deployment) -> Rollout | None:
    """The newest rollout before the wanted one that came to its end and whose files still exist."""
    done = deployment.rollouts.filter(
        state=RolloutState.DONE, number__lt=deployment.generation, revision__artifact__isnull=False
    )  # fmt: skip
    return done.select_related("revision__artifact", "revision__host").order_by("-number").first()


def _finish(deployment: Deployment, _step: Finish) -> Pause:
    rollout = current(deployment)
    assert rollout is not None
    STATES.move(rollout, RolloutState.RUNNING, RolloutState.DONE, rollout.reason)
    took_s = (timezone.now() - rollout.started_at).total_seconds()
    _write(deployment, f"finished rolling out revision {rollout.revision.number} after {took_s:.0f} s")
    _forget(deployment)
    events.publish(*topics(deployment))
    return GO_ON


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
        replica_ordinal=replica.number if replica else None,
        revision_number=revision.number if revision else None,
        text=text[:500],
        actor=SYSTEM,
    )


_DO: dict[type, Callable[[Deployment, Any], Pause]] = {
    Add: _add, Retire: _retire, GoBack: _go_back, Finish: _finish, Hold: _hold_on, Rest: _rest, Delete: _delete,
}  # fmt: skip
ROLLOUT = Kind(Deployment, ROLL)
CONTROLLER = Controller(ROLLOUT, _look, _decide, _carry_out, _hold)
