"""Firing: which schedules are due, and the one run that each of them begins, however many sweeps look at once."""

import logging
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from webapp.catalog import hubs
from webapp.foundation import work_queue
from webapp.foundation.errors import ServiceError
from webapp.foundation.events import services as events
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.states import RunState
from webapp.schedules.timing import Trigger

logger = logging.getLogger(__name__)

ADVANCE = "schedules.advance"
LOOK = "schedules.look"
DELIVER = "schedules.deliver"
RUNNING = [RunState.WAITING.value, RunState.RUNNING.value]
MOST = 200


def sweep(now: datetime | None = None) -> None:
    """Fire what is due. Any number may do so at once."""
    now = now or timezone.now()
    for schedule in Schedule.objects.due(now).order_by("next_due_at")[:MOST]:
        if schedule.trigger == Trigger.NEW_COMMIT:
            # Asking a hub takes time: that is a task's work.
            work_queue.send(LOOK, schedule.pk)
            continue
        try:
            fire(schedule, now)
        except Exception:  # a time zone that this machine does not know: the others fire nevertheless
            logger.exception("schedule %s could not be fired", schedule.pk)


def fire(schedule: Schedule, now: datetime | None = None) -> ScheduleRun | None:
    """Begin the run that is due; None when somebody else has, or when it is not due.

    Of all who saw the same `next_due_at` one changes it. What was missed meanwhile is this one run.
    """
    now = now or timezone.now()
    due = schedule.next_due_at
    with transaction.atomic():
        if due is None or due > now or not _claim(schedule, now):
            return None
        run = begin(schedule, due)
        if run is None:
            # Somebody asked for one this moment: stay due, and run once when that has ended.
            transaction.set_rollback(True)
        return run


def look(schedule_id: int) -> ScheduleRun | None:
    """Ask the hub for the commit, and begin a run when it is another one than last time.

    A hub that cannot be asked leaves a note on the schedule: that is no failed run.
    """
    schedule = Schedule.objects.select_related("hub", "team").filter(pk=schedule_id, is_paused=False).first()
    now = timezone.now()
    if schedule is None or schedule.next_due_at is None or schedule.next_due_at > now:
        return None
    due = schedule.next_due_at
    if not _claim(schedule, now):
        return None
    try:
        commit, note = _commit(schedule), ""
    except ServiceError as refusal:
        commit, note = schedule.seen_commit, str(refusal)[:500]
    rows = Schedule.objects.filter(pk=schedule.pk)
    if note != schedule.note:
        rows.update(note=note)
        announce(schedule)
    if commit == schedule.seen_commit:
        return None
    with transaction.atomic():
        run = begin(schedule, due)
        if run is not None:
            rows.update(seen_commit=commit)
        return run


def begin(schedule: Schedule, due: datetime, asked_by: str = "") -> ScheduleRun | None:
    """Write the run down; workers do the rest. None while another one has not ended."""
    now = timezone.now()
    try:
        with transaction.atomic():
            run = ScheduleRun.objects.create(schedule=schedule, due_at=due, asked_by=asked_by, next_due_at=now)
    except IntegrityError:
        return None
    wake(schedule, run.pk)
    return run


def wake(schedule: Schedule, run_id: int) -> None:
    """Tell pages and workers that somebody wants something of a run."""
    announce(schedule)
    work_queue.enqueue(ADVANCE, run_id)


def announce(schedule: Schedule) -> None:
    """Tell pages."""
    events.publish(f"schedules:{schedule.team_id}", f"schedule:{schedule.pk}")


def _claim(schedule: Schedule, now: datetime) -> bool:
    """Move the due time on, unless somebody has already."""
    following = schedule.timing.next_due(now, began=schedule.next_due_at)
    columns: dict[str, Any] = {"next_due_at": following}
    return bool(
        Schedule.objects.filter(pk=schedule.pk, next_due_at=schedule.next_due_at, is_paused=False).update(**columns)
    )


def _commit(schedule: Schedule) -> str:
    if schedule.hub is None:
        raise ServiceError("The hub of this schedule was removed.", "Choose another source.")
    return hubs.repo(schedule.hub, schedule.repo, schedule.revision).commit
