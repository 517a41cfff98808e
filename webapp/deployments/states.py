"""The states of a replica, the moves between them, and what a deployment's replicas add up to. Pure."""

from collections.abc import Iterable
from enum import StrEnum


class ReplicaState(StrEnum):
    PENDING = "pending"
    PLACING = "placing"
    PULLING = "pulling"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    PAUSED = "paused"  # by somebody on its host: it runs, keeps its memory and answers nothing
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class RolloutState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # given up; the deployment went back to what was good
    SUPERSEDED = "superseded"  # another change came before it was done


ROLLOUT_MOVES: dict[RolloutState, frozenset[RolloutState]] = {
    RolloutState.RUNNING: frozenset({RolloutState.DONE, RolloutState.FAILED, RolloutState.SUPERSEDED}),
    RolloutState.DONE: frozenset(),
    RolloutState.FAILED: frozenset(),
    RolloutState.SUPERSEDED: frozenset(),
}


S = ReplicaState

MOVES: dict[ReplicaState, frozenset[ReplicaState]] = {
    S.PENDING: frozenset({S.PLACING, S.FAILED, S.STOPPED}),
    S.PLACING: frozenset({S.PULLING, S.STARTING, S.PENDING, S.FAILED, S.STOPPED}),
    S.PULLING: frozenset({S.STARTING, S.FAILED, S.STOPPED}),
    S.STARTING: frozenset({S.LOADING, S.PAUSED, S.FAILED, S.STOPPING, S.STOPPED, S.LOST}),
    S.LOADING: frozenset({S.READY, S.PAUSED, S.FAILED, S.STOPPING, S.STOPPED, S.LOST}),
    S.READY: frozenset({S.LOADING, S.PAUSED, S.DRAINING, S.FAILED, S.STOPPED, S.LOST}),
    S.PAUSED: frozenset({S.LOADING, S.FAILED, S.STOPPING, S.STOPPED, S.LOST}),
    S.DRAINING: frozenset({S.STOPPING, S.STOPPED, S.FAILED, S.LOST}),
    S.STOPPING: frozenset({S.STOPPED, S.LOST}),
    S.STOPPED: frozenset({S.PENDING}),
    S.FAILED: frozenset({S.PENDING, S.STOPPED}),
    S.LOST: frozenset({S.LOADING, S.PAUSED, S.FAILED, S.STOPPING, S.STOPPED}),
}

# After crash number n (from 1) wait this long; the last value repeats.
BACKOFF_S = (10, 20, 40, 80, 160, 300)
BACKOFF_RESET_AFTER_READY_S = 600


def backoff_s(crash_count: int) -> int:
    """Seconds to wait after the given crash, counted from 1."""
    return BACKOFF_S[min(max(crash_count, 1), len(BACKOFF_S)) - 1]


def summary(desired: Desired, replicas: Iterable[tuple[ReplicaState, bool]], wanted: int | None = None) -> str:
    """One word for a deployment: what people asked for against (state, will be retried) of its replicas.

    ready: as many as `wanted` (all when None) are; degraded: some are; restarting: none is, a failed one will be tried
    again; failed: nobody tries.
    """
    states = list(replicas)
    if desired == Desired.DELETED:
        return "deleting"
    if desired == Desired.STOPPED or wanted == 0:
        return "stopped" if all(state == S.STOPPED for state, _ in states) else "stopping"
    ready = sum(state == S.READY for state, _ in states)
    if states and ready >= (len(states) if wanted is None else wanted):
        return "ready"
    if ready:
        return "degraded"
    if any(state == S.FAILED and not retried for state, retried in states):
        return "failed"
    if any(state == S.FAILED for state, _ in states):
        return "restarting"
    for state in (S.LOST, S.PAUSED, S.LOADING, S.STARTING, S.PULLING, S.PLACING, S.DRAINING, S.STOPPING):
        if any(other == state for other, _ in states):
            return state.value
    return "pending"
