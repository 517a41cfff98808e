"""What people ask of schedules: one function per verb, called by page, API and command line alike."""

from dataclasses import fields

from django.db import IntegrityError, transaction
from django.utils import timezone

from webapp.accounts.auditing import actor_name
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.foundation.errors import Conflict
from webapp.schedules import checking, firing, quantising
from webapp.schedules.checking import Fault
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.spec import ScheduleSpec as ScheduleSpec
from webapp.schedules.spec import spec_of as spec_of

OTHER_NAME = "Choose another name."


def create(user: User | None, team: Team, spec: ScheduleSpec) -> Schedule:
    """Keep a schedule. Raises Invalid, Conflict or NotAllowed and then changes nothing."""
    return _save(user, Schedule(team=team, created_by=user), spec, "schedule.create")


def edit(user: User | None, schedule: Schedule, spec: ScheduleSpec) -> Schedule:
    """Change a schedule; a run that has begun goes on as it began."""
    return _save(user, schedule, spec, "schedule.edit")


def check(user: User | None, team: Team, spec: ScheduleSpec) -> list[str]:
    """Warnings about a spec that can be saved. Raises Invalid or NotAllowed for one that cannot."""
    schedule = _filled(Schedule(team=team, created_by=user), spec)
    _check(user, schedule, spec)
    return warnings(schedule)


def warnings(schedule: Schedule) -> list[str]:
    """What is allowed and yet probably not meant."""
    found = [str(failure) for failure in certain_failures(schedule)]
    if schedule.timing.never_meets_window(timezone.now()):
        found.append("The cron schedule never fires inside the maintenance window: every run will wait until it opens.")
    if schedule.is_served and not schedule.limits.is_set:
        found.append("There is no quality gate: every result is deployed, whatever its quality loss.")
    return found


def certain_failures(schedule: Schedule) -> list[Fault]:
    """Why every run would fail as things are now; each with the way out."""
    found = []
    if schedule.lacks:
        what = f"Its source is gone: {schedule.lacks} was deleted. Every run fails until it has another one."
        found.append(Fault("artifact", what))
    if schedule.is_served and schedule.deployment is None:
        what = "The deployment it deployed to has been deleted: runs will fail until another one is chosen."
        found.append(Fault("deployment", what))
    return [*found, *(Fault("host", *why) for why in quantising.lacks_on_host(schedule))]


def pause(user: User | None, schedule: Schedule) -> None:
    """Fire no more. What runs goes on."""
    _switch(user, schedule, is_paused=True)


def resume(user: User | None, schedule: Schedule) -> None:
    """Fire again, from the next time on; what was missed while it was paused stays missed."""
    _switch(user, schedule, is_paused=False)


def run_now(user: User | None, schedule: Schedule) -> ScheduleRun:
    """Run once at once: its window and an idle host do not count.

    Raises Conflict while one runs, and when it could only fail.
    """
    require(user, schedule.team, Role.OPERATOR)
    for failure in certain_failures(schedule):
        raise Conflict(failure.what, failure.advice)
    with transaction.atomic():
        run = firing.begin(schedule, timezone.now(), actor_name(user))
        if run is None:
            raise Conflict(f"{schedule.name} is already running.", "Wait until it ends, or cancel the run.")
        audit(user, schedule.team, "schedule.run", schedule.name)
    return run


def cancel(user: User | None, run: ScheduleRun) -> None:
    """Ask a run to stop, its jobs too. Raises Conflict when it has ended."""
    require(user, run.schedule.team, Role.OPERATOR)
    with transaction.atomic():
        running = ScheduleRun.objects.filter(pk=run.pk, state__in=firing.RUNNING)
        if not running.update(is_cancel_wanted=True, next_due_at=timezone.now()):
            raise Conflict("The run has already finished.")
        audit(user, run.schedule.team, "schedule.cancel", run.schedule.name)
        firing.wake(run.schedule, run.pk)


def delete(user: User | None, schedule: Schedule) -> None:
    """Delete a schedule with its history. Its results stay. Raises Conflict while it runs."""
    require(user, schedule.team, Role.OPERATOR)
    with transaction.atomic():
        if ScheduleRun.objects.filter(schedule=schedule, state__in=firing.RUNNING).exists():
            raise Conflict(f"{schedule.name} is running.", "Cancel its run, then delete it.")
        audit(user, schedule.team, "schedule.delete", schedule.name)
        firing.announce(schedule)
        schedule.delete()


def _save(user: User | None, schedule: Schedule, spec: ScheduleSpec, verb: str) -> Schedule:
    _filled(schedule, spec)
    _check(user, schedule, spec)
    schedule.next_due_at = schedule.timing.next_due(timezone.now())
    schedule.note = ""
    try:
        with transaction.atomic():
            schedule.save()
            audit(user, schedule.team, verb, schedule.name, {"source": schedule.source, "trigger": schedule.rhythm})
            firing.announce(schedule)
    except IntegrityError as error:
        raise Conflict(_taken(schedule), OTHER_NAME, fields={"name": _taken(schedule)}) from error
    return schedule


def _filled(schedule: Schedule, spec: ScheduleSpec) -> Schedule:
    if (spec.hub, spec.repo, spec.revision) != (schedule.hub, schedule.repo, schedule.revision):
        schedule.seen_commit = ""
    for part in fields(ScheduleSpec):
        setattr(schedule, part.name, getattr(spec, part.name))
    schedule.name = spec.name.strip()
    schedule.source_name = str(spec.artifact)[:200] if spec.artifact else ""
    schedule.recipes = [recipe.model_dump() for recipe in spec.recipes]
    schedule.measure = spec.measure.model_dump() if spec.measure else None
    schedule.gate = spec.gate.model_dump(exclude_none=True)
    schedule.is_served = spec.deployment is not None
    return schedule


def _check(user: User | None, schedule: Schedule, spec: ScheduleSpec) -> None:
    """Everything that can be known to be wrong before the first run, all at once."""
    require(user, schedule.team, Role.OPERATOR)
    faults = checking.faults(schedule, spec)
    if not faults:
        return
    if _is_taken(schedule):
        faults.append(checking.Fault("name", _taken(schedule), OTHER_NAME))
    raise checking.refusal(faults)


def _is_taken(schedule: Schedule) -> bool:
    return Schedule.objects.filter(team=schedule.team, name=schedule.name).exclude(pk=schedule.pk).exists()


def _taken(schedule: Schedule) -> str:
    return f"The team has a schedule named {schedule.name} already."


def _switch(user: User | None, schedule: Schedule, is_paused: bool) -> None:
    require(user, schedule.team, Role.OPERATOR)
    with transaction.atomic():
        schedule.is_paused = is_paused
        schedule.next_due_at = schedule.timing.next_due(timezone.now())
        schedule.save(update_fields=["is_paused", "next_due_at"])
        audit(user, schedule.team, "schedule.pause" if is_paused else "schedule.resume", schedule.name)
        firing.announce(schedule)
