"""Reconcile one replica: claim, look, decide, do one step, look again ... until there is something to wait for."""

import logging
import time
from dataclasses import replace

from django.utils import timezone

from webapp import engines, queue
from webapp.deployments import lifecycle
from webapp.deployments.decide import ALIVE, LOOK_AGAIN_S, Container, Observed, Seen, View, Wait, decide
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from webapp.deployments.waking import RECONCILE
from webapp.inventory import services as inventory
from workers.hosts import connection, metrics
from workers.runtime.base import LABEL_ID, LABEL_INSTALLATION, LABEL_KIND, HostUnreachable
from workers.tasks import looks, steps
from workers.tasks.pauses import GO_ON

logger = logging.getLogger(__name__)

# A task is killed after 25 s and the claim ends after 28 s; Docker's own calls may take 10 s each.
BUDGET_S = 12.0
MAX_STEPS = 30
SOON_S = 20.0


def reconcile(replica_id: int) -> None:
    """Bring the replica as far towards what is wanted as quick steps can."""
    replica = lifecycle.claim(replica_id)
    if replica is None:
        return
    due_in_s: float | None = 15.0  # whatever breaks below, the sweep comes back
    try:
        replica, due_in_s = _walk(replica)
    finally:
        asked_again = lifecycle.release(replica, due_in_s)
        if asked_again or due_in_s == 0:
            queue.send(RECONCILE, replica_id)
        elif due_in_s is not None and due_in_s != LOOK_AGAIN_S and due_in_s <= SOON_S:
            # Sooner than a sweep would notice. The routine look is the sweep's, else every wake-up began a new chain.
            queue.send(RECONCILE, replica_id, in_s=due_in_s)


def _walk(replica: Replica) -> tuple[Replica, float | None]:
    """Step after step; the replica as the last decision saw it, and when to look again."""
    deadline = time.monotonic() + BUDGET_S
    for _count in range(MAX_STEPS):
        # Who calls, or sets a date, after this look knows something that this decision does not.
        wakes, due_at = replica.wakes, replica.next_due_at
        observed = look(replica)
        step = decide(view(replica), observed, timezone.now())
        if isinstance(step, Wait):
            return replica, step.seconds
        pause = steps.carry_out(step, replica)
        if pause != GO_ON:
            replica.wakes, replica.next_due_at = wakes, due_at
            return replica, pause
        fresh = lifecycle.reread(replica)
        if fresh is None:
            return replica, None  # somebody else has the row, or it is gone
        replica = fresh
        if time.monotonic() > deadline:
            break
    return replica, 0


def view(replica: Replica) -> View:
    """The row as `decide` sees it."""
    engine = engines.get(replica.contents.engine)
    return View(
        state=ReplicaState(replica.state),
        desired=replica.wish,
        generation=replica.generation,
        attempt=replica.attempt,
        container_id=replica.container_id,
        next_due_at=replica.next_due_at,
        state_at=replica.state_at,
        progress_at=replica.progress_at,
        reason_code=replica.reason_code,
        stop_requested_at=replica.stop_requested_at,
        kill_after=replica.kill_after,
        missing_since=replica.missing_since,
        drain_s=engine.drain_s,
    )


def look(replica: Replica) -> Observed:
    """What is on the replica's host now; the host's silence is written down."""
    if replica.host is None:
        return Observed()
    runtime = connection.runtime(replica.host)
    labels = {
        LABEL_INSTALLATION: str(inventory.installation().pk),
        LABEL_KIND: "replica",
        LABEL_ID: str(replica.pk),
    }
    try:
        found = looks.containers(runtime, replica.host, labels, replica.container_id)
    except HostUnreachable as fault:
        return Observed(unreachable_s=looks.record_silence(replica.host, fault))
    seen = tuple(Seen(c.id, c.generation, c.attempt, Container(c.status)) for c in found)
    if replica.missing_since is not None and any(c.id == replica.container_id for c in seen):
        lifecycle.note(replica, missing_since=None)
    observed = Observed(seen)
    if replica.state == ReplicaState.DRAINING and any(c.status in ALIVE for c in seen):
        observed = replace(observed, running_requests=metrics.running_requests(replica.reach))
    return observed
