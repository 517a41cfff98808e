"""The moves of runs and of notifications, and what goes with each."""

from typing import Any

from django.utils import timezone

from webapp.control.kinds import Kind
from webapp.control.moves import States
from webapp.schedules import firing, notifying
from webapp.schedules.models import Notification, ScheduleRun
from webapp.schedules.states import ENDED, MOVES, NOTIFICATION_MOVES, NotificationState, RunState


class _Runs(States[ScheduleRun]):
    model = ScheduleRun
    moves = MOVES

    def columns(self, row: ScheduleRun, old: RunState, new: RunState) -> dict[str, Any]:
        return {"ended_at": timezone.now(), "next_due_at": None} if new in ENDED else {}

    def moved(self, row: ScheduleRun, old: RunState, new: RunState, reason: str) -> None:
        firing.announce(row.schedule)
        if new in ENDED:
            notifying.tell_run(row)


class _Notifications(States[Notification]):
    model = Notification
    moves = NOTIFICATION_MOVES

    def columns(self, row: Notification, old: NotificationState, new: NotificationState) -> dict[str, Any]:
        return {"next_due_at": None, **({"sent_at": timezone.now()} if new == NotificationState.SENT else {})}


RUNS = _Runs()
NOTIFICATIONS = _Notifications()
RUN = Kind(
    ScheduleRun, firing.ADVANCE,
    (
        "schedule__team", "schedule__host", "schedule__hub", "schedule__artifact__catalog_model",
        "source__catalog_model", "schedule__deployment", "schedule__calibration", "schedule__judging",
        "schedule__prompts",
    ),
)  # fmt: skip
NOTIFICATION = Kind(Notification, firing.DELIVER, ("target__team",))
