"""One message to one target: is it sent now? Five tries, further and further apart, then it is given up. Pure."""

from dataclasses import dataclass
from datetime import datetime

from webapp.control.steps import Wait
from webapp.schedules.states import NotificationState

# After try number n (from 1) wait so long; the fifth is the last.
BACKOFF_S = (30, 120, 600, 3600)
TRIES = len(BACKOFF_S) + 1


@dataclass(frozen=True, slots=True)
class View:
    state: NotificationState
    attempts: int = 0
    next_due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Try once."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The last try was begun and never answered for."""


Step = Send | GiveUp | Wait


def decide(view: View, now: datetime) -> Step:
    """What comes next. A message that is delivered twice or too early is not sent before its time."""
    if view.state != NotificationState.PENDING:
        return Wait(None)
    if view.next_due_at is not None and now < view.next_due_at:
        return Wait((view.next_due_at - now).total_seconds())
    return Send() if view.attempts < TRIES else GiveUp()


def wait_s(attempts: int) -> float | None:
    """Seconds to the next try after so many; None: that was the last."""
    return BACKOFF_S[attempts - 1] if attempts < TRIES else None
