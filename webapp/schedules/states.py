"""The states of a schedule's run and the moves between them. Pure."""

from enum import StrEnum


class RunState(StrEnum):
    WAITING = "waiting"  # due, but its window is shut, its host busy or its source out of reach
    RUNNING = "running"  # its source is fetched, its jobs run, or its result is rolled out
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"  # made, but not good enough to be served: nothing was changed
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.WAITING: frozenset({RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.SUCCEEDED, RunState.REJECTED, RunState.FAILED, RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.REJECTED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}

ENDED = frozenset({RunState.SUCCEEDED, RunState.REJECTED, RunState.FAILED, RunState.CANCELLED})


class NotificationState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


NOTIFICATION_MOVES: dict[NotificationState, frozenset[NotificationState]] = {
    NotificationState.PENDING: frozenset({NotificationState.SENT, NotificationState.FAILED}),
    NotificationState.SENT: frozenset(),
    NotificationState.FAILED: frozenset(),
}
