"""Send one notification, or give it up. A crash while it is sent sends it once more: receivers know it by its id."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from webapp.control import lease
from webapp.control.steps import Pause
from webapp.foundation.text import one_line
from webapp.schedules import delivering, retries
from webapp.schedules.lifecycle import NOTIFICATIONS
from webapp.schedules.models import Notification
from webapp.schedules.states import NotificationState

PENDING = NotificationState.PENDING


def carry_out(step: Any, row: Notification) -> Pause:
    """Do it; the seconds until the next try, None when there is none."""
    return _send(row) if isinstance(step, retries.Send) else _give_up(row, row.answer or "no try was answered")


def _send(row: Notification) -> Pause:
    # Counted first: a try that ends this process counts too, and waits as long for the next as one that failed.
    wait_s = retries.wait_s(row.attempts + 1)
    due = {} if wait_s is None else {"next_due_at": timezone.now() + timedelta(seconds=wait_s)}
    if not lease.note(row, attempts=row.attempts + 1, **due):
        return None
    try:
        said = delivering.send(row)
    except delivering.NotDelivered as error:
        if wait_s is None:
            return _give_up(row, str(error))
        lease.note(row, answer=one_line(error)[:300])
        return wait_s
    NOTIFICATIONS.move(row, PENDING, NotificationState.SENT, answer=one_line(said)[:300])
    return None


def _give_up(row: Notification, why: str) -> Pause:
    NOTIFICATIONS.move(row, PENDING, NotificationState.FAILED, answer=one_line(why)[:300])
    return None
