"""One replica, what is wanted of it and what was seen on its host: which single step comes next? Pure.

The caller re-reads row and host after every step and asks again, so no step needs to know what follows it. Three rules
keep containers safe from stale knowledge:

- Unknown is not absent. An unreachable host leads to `lost`, never to a second container.
- Absence counts after two sightings ABSENT_S apart, unless we removed the container ourselves (container_id is "").
- A container of an earlier attempt goes before a new one comes, so a replica never runs twice. One of a later attempt
  than the row's means that the database was restored: the row goes on with it.
"""

from dataclasses import dataclass
from datetime import datetime

from webapp.control.sightings import ALIVE, Container, absent_left_s
from webapp.control.steps import LOOK_AGAIN_S, Wait
from webapp.deployments.states import Desired, ReplicaState

S = ReplicaState

UNREACHABLE_S = 30  # a host that is silent this long makes its replicas `lost`
STOP_ROUTING_S = 2.2  # gateways follow a change of state within a second; twice that, to be sure
LOADING_S = 30 * 60  # without any progress
UNHEALTHY_S = 120  # a replica that was ready and stopped answering is given up after this
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """The row, as far as it decides anything."""

    state: ReplicaState
    desired: Desired
    generation: int = 1
    attempt: int = 1
    # The container that the row believes in; "" when none was created or we removed it ourselves.
    container_id: str = ""
    next_due_at: datetime | None = None
    state_at: datetime | None = None
    progress_at: datetime | None = None
    reason_code: str = ""
    stop_requested_at: datetime | None = None
    kill_after: datetime | None = None
    missing_since: datetime | None = None
    drain_s: float = 30
    loading_s: float = LOADING_S


@dataclass(frozen=True, slots=True)
class Seen:
    """One container of this replica on its host."""

    id: str
    generation: int
    attempt: int
    status: Container


@dataclass(frozen=True, slots=True)
class Observed:
    """What a look at the host gave. `unreachable_s` is None when it succeeded, or when there is no host to look at."""

    containers: tuple[Seen, ...] = ()
    unreachable_s: float | None = None
    # Requests that the engine is working on; None when it does not say.
    running_requests: int | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """stopped -> pending, as the next attempt."""


@dataclass(frozen=True, slots=True)
class Place:
    """Find a host, reserve memory and an address."""


@dataclass(frozen=True, slots=True)
class Replan:
    """Give the place back and look for another one; nothing was created there."""


@dataclass(frozen=True, slots=True)
class EnsureImage:
    """Go on when an image is on the host, have it pulled when not."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """A later attempt than the row's is there: the database is older than the host (a restored backup)."""

    container_id: str
    generation: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Create:
    pass


@dataclass(frozen=True, slots=True)
class Start:
    container_id: str


@dataclass(frozen=True, slots=True)
class MoveLoading:
    """The container runs; the engine in it loads its model (or has been found running again)."""

    container_id: str


@dataclass(frozen=True, slots=True)
class MarkPaused:
    """Somebody paused the container: no request may go there until it is unpaused and has proved itself again."""

    container_id: str


@dataclass(frozen=True, slots=True)
class Crash:
    """Find out why it is not serving, write it down, count it. `kill`: it still runs, but no longer answers."""

    container_id: str = ""
    kill: bool = False


@dataclass(frozen=True, slots=True)
class RetryNow:
    """failed -> pending, as the next attempt."""


@dataclass(frozen=True, slots=True)
class Drain:
    """ready -> draining: no new requests."""


@dataclass(frozen=True, slots=True)
class SendTerm:
    container_id: str


@dataclass(frozen=True, slots=True)
class Kill:
    container_id: str


@dataclass(frozen=True, slots=True)
class Remove:
    container_id: str


@dataclass(frozen=True, slots=True)
class FinishStop:
    pass


@dataclass(frozen=True, slots=True)
class FinishDelete:
    pass


@dataclass(frozen=True, slots=True)
class MarkMissing:
    """Our container was not in the list: the first sighting of its absence."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The host has been silent for too long to call the replica anything else."""


Step = (
    Begin | Place | Replan | EnsureImage | Adopt | Create | Start | MoveLoading | MarkPaused | Crash | RetryNow
    | Drain | SendTerm | Kill | Remove | FinishStop | FinishDelete | MarkMissing | Lost | Wait
)  # fmt: skip


def decide(view: View, observed: Observed, now: datetime) -> Step:
    """The next step towards what is wanted."""
    if observed.unreachable_s is not None:
        return _unreachable(view, observed.unreachable_s, now)
    later = [seen for seen in observed.containers if (seen.generation, seen.attempt) > (view.generation, view.attempt)]
    if later:
        latest = max(later, key=lambda seen: (seen.generation, seen.attempt))
        return Adopt(latest.id, latest.generation, latest.attempt)
    if view.state in (S.DRAINING, S.STOPPING):
        return _wind_down(view, observed, now)  # once begun, a stop is brought to its end whatever is wanted now
    if view.desired == Desired.RUNNING:
        return _run(view, observed, now)
    return _rest(view, observed, now)


def _unreachable(view: View, silent_s: float, now: datetime) -> Step:
    may_have_container = view.container_id != "" or view.state in (S.STARTING, S.LOST)
    if not may_have_container and view.state in (S.PENDING, S.STOPPED, S.FAILED):
        nowhere = Observed()
        return _run(view, nowhere, now) if view.desired == Desired.RUNNING else _rest(view, nowhere, now)
    if silent_s < UNREACHABLE_S:
        return Wait(5)
    if view.state in (S.STARTING, S.LOADING, S.READY, S.PAUSED, S.DRAINING, S.STOPPING):
        return Lost()
    if view.state in (S.PLACING, S.PULLING):
        if view.desired != Desired.RUNNING:
            return FinishStop()
        return Replan()
    return Wait(LOOK_AGAIN_S)


def _run(view: View, observed: Observed, now: datetime) -> Step:
    if view.state == S.FAILED:
        return _failed(view, observed, now)
    if view.state == S.STOPPED:
        return _remove_first(observed.containers) or Begin()
    if view.state == S.PENDING:
        return Place()
    mine, others = _split(view, observed)
    if others:
        return Remove(others[0].id)
    if view.state in (S.PLACING, S.PULLING):
        return EnsureImage()
    if mine is None:
        if view.state == S.STARTING and not view.container_id:
            return Create()
        return _absent(view, now) or Crash()
    if mine.status == Container.REMOVING:
        return Wait(POLL_S)
    if mine.status == Container.CREATED and view.state == S.STARTING:
        return Start(mine.id)
    if mine.status not in ALIVE:
        return Crash(mine.id)
    if mine.status == Container.PAUSED:
        return Wait() if view.state == S.PAUSED else MarkPaused(mine.id)
    if view.state in (S.STARTING, S.PAUSED, S.LOST):
        return MoveLoading(mine.id)
    if view.state == S.LOADING and _is_stuck(view, now):
        return Crash(mine.id, kill=True)
    return Wait()


def _failed(view: View, observed: Observed, now: datetime) -> Step:
    if view.next_due_at is None:
        return Wait(None)  # only a person can help
    if now < view.next_due_at:
        return Wait((view.next_due_at - now).total_seconds())
    return _remove_first(observed.containers) or RetryNow()


def _rest(view: View, observed: Observed, now: datetime) -> Step:
    if view.state == S.STOPPED:
        ended: Step = FinishDelete() if view.desired == Desired.DELETED else Wait(None)
        return _remove_first(observed.containers) or ended
    if view.state in (S.PENDING, S.PLACING, S.PULLING, S.FAILED):
        return _remove_first(observed.containers) or FinishStop()
    mine, others = _split(view, observed)
    if others:
        return Remove(others[0].id)
    if mine is None:
        return FinishStop() if not view.container_id else _absent(view, now) or FinishStop()
    if mine.status == Container.REMOVING:
        return Wait(POLL_S)
    if mine.status not in ALIVE:
        return Remove(mine.id)
    return Drain() if view.state == S.READY else SendTerm(mine.id)


def _wind_down(view: View, observed: Observed, now: datetime) -> Step:
    mine, others = _split(view, observed)
    if others:
        return Remove(others[0].id)
    if mine is None:
        return FinishStop() if not view.container_id else _absent(view, now) or FinishStop()
    if mine.status == Container.REMOVING:
        return Wait(POLL_S)
    if mine.status not in ALIVE:
        return Remove(mine.id)
    if view.state == S.STOPPING:
        left_s = (view.kill_after - now).total_seconds() if view.kill_after else 0.0
        return Kill(mine.id) if left_s <= 0 else Wait(min(POLL_S, left_s))
    drained_s = (now - view.stop_requested_at).total_seconds() if view.stop_requested_at else view.drain_s
    if drained_s < STOP_ROUTING_S:
        return Wait(STOP_ROUTING_S - drained_s)
    if observed.running_requests == 0 or drained_s >= view.drain_s:
        return SendTerm(mine.id)
    return Wait(POLL_S)


def _absent(view: View, now: datetime) -> Step | None:
    """What to do about a container that ought to be there and is not; None once its absence is certain."""
    if view.missing_since is None:
        return MarkMissing()
    left_s = absent_left_s(view.missing_since, now)
    return Wait(left_s) if left_s > 0 else None


def _is_stuck(view: View, now: datetime) -> bool:
    dates = [date for date in (view.state_at, view.progress_at) if date is not None]
    if not dates:
        return False
    limit_s = min(UNHEALTHY_S, view.loading_s) if view.reason_code == "unhealthy" else view.loading_s
    return (now - max(dates)).total_seconds() >= limit_s


def _split(view: View, observed: Observed) -> tuple[Seen | None, list[Seen]]:
    """This attempt's container, and those of other attempts."""
    mine, others = None, []
    for container in observed.containers:
        if (container.generation, container.attempt) == (view.generation, view.attempt):
            mine = container
        elif container.status != Container.REMOVING:
            others.append(container)
    return mine, others


def _remove_first(containers: tuple[Seen, ...]) -> Step | None:
    """Remove what is left of earlier attempts, one at a time; wait for what Docker is removing."""
    for container in containers:
        return Wait(POLL_S) if container.status == Container.REMOVING else Remove(container.id)
    return None
