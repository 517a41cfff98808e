"""A notification as `decide` sees it: all there is to know stands in its row."""

from django.utils import timezone

from webapp.schedules import retries
from webapp.schedules.models import Notification
from webapp.schedules.retries import View
from webapp.schedules.states import NotificationState


def look(_row: Notification) -> None:
    """Nothing beside the row counts."""


def step(row: Notification, _observed: None) -> "retries.Step":
    """What comes next."""
    return retries.decide(View(NotificationState(row.state), row.attempts, row.next_due_at), timezone.now())
