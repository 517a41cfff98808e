"""A replica as `decide` sees it: its row, and what is on its host."""

from dataclasses import replace

from django.utils import timezone

from webapp import engines
from webapp.control import lease
from webapp.control.sightings import ALIVE, Container
from webapp.deployments import decide
from webapp.deployments.decide import Observed, Seen, View
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from webapp.inventory import services as inventory
from workers.controllers import looks
from workers.hosts import metrics
from workers.runtime.base import LABEL_ID, LABEL_INSTALLATION, LABEL_KIND, HostUnreachable


def step(replica: Replica, observed: Observed) -> "decide.Step":
    """What comes next."""
    return decide.decide(view(replica), observed, timezone.now())


def view(replica: Replica) -> View:
    """The row as `decide` sees it."""
    engine = engines.get(replica.contents.engine)
    return View(
        state=ReplicaState(replica.state),
        desired=replica.desired,
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
    labels = {
        LABEL_INSTALLATION: str(inventory.installation().pk),
        LABEL_KIND: "replica",
        LABEL_ID: str(replica.pk),
    }
    try:
        runtime = looks.contact(replica.host)
        found = looks.containers(runtime, replica.host, labels, replica.container_id)
    except HostUnreachable as fault:
        return Observed(unreachable_s=looks.record_silence(replica.host, fault))
    seen = tuple(Seen(c.id, c.generation, c.attempt, Container(c.status)) for c in found)
    if replica.missing_since is not None and any(c.id == replica.container_id for c in seen):
        lease.note(replica, missing_since=None)
    # Made before a crash in the middle, taken over, or by an earlier version: what it is called is what it is called.
    mine = next((c for c in found if (c.generation, c.attempt) == (replica.generation, replica.attempt)), None)
    if mine is not None and mine.name != replica.container:
        lease.note(replica, container=mine.name)
    observed = Observed(seen)
    if replica.state == ReplicaState.DRAINING and any(c.status in ALIVE for c in seen):
        names = engines.get(replica.contents.engine).metrics
        observed = replace(observed, running_requests=metrics.running_requests(replica.reach, names))
    return observed
