"""A run as `decide` sees it: its row, its schedule, its jobs and its rollout."""

from django.utils import timezone

from webapp.catalog.models import CopyState
from webapp.jobs.models import JobKind
from webapp.jobs.states import ENDED as JOB_ENDED
from webapp.jobs.states import JobState
from webapp.schedules import decide, quiet, serving
from webapp.schedules.decide import Observed, View
from webapp.schedules.models import ScheduleRun
from webapp.schedules.states import RunState


def step(run: ScheduleRun, observed: Observed) -> "decide.Step":
    """What comes next."""
    return decide.decide(view(run), observed, timezone.now())


def view(run: ScheduleRun) -> View:
    """The row as `decide` sees it."""
    return View(
        state=RunState(run.state),
        is_cancel_wanted=run.is_cancel_wanted,
        is_asked_for=bool(run.asked_by),
        has_queued=run.has_queued,
        results=run.results,
        serves=run.schedule.is_served,
        has_asked=run.rollout is not None or bool(run.served),
        served=run.served,
    )


def look(run: ScheduleRun) -> Observed:
    """What the rows around it say."""
    has_running_jobs = run.jobs.exclude(state__in=[state.value for state in JOB_ENDED]).exists()
    if run.has_ended or run.is_cancel_wanted:
        return Observed(has_running_jobs=has_running_jobs)
    if run.state == RunState.WAITING:
        return Observed() if run.asked_by else _window(run)
    source, schedule = run.source, run.schedule
    if source is None:
        return Observed(has_source=False)
    if not source.copies.filter(host=schedule.host, state=CopyState.PRESENT).exists():
        return _fetch(run)
    rollout = serving.why_not_yet(run) if schedule.is_served else None
    return Observed(has_running_jobs=has_running_jobs, rollout=rollout)


def _window(run: ScheduleRun) -> Observed:
    """Its window, and whether the host must be idle."""
    schedule, now = run.schedule, timezone.now()
    opening = schedule.timing.opening(now)
    if opening > now:
        return Observed(opens_at=opening)
    return Observed(busy=quiet.why_busy(schedule.host, schedule.idle_minutes, now) if schedule.idle_minutes else "")


def _fetch(run: ScheduleRun) -> Observed:
    mine = run.jobs.filter(kind=JobKind.FETCH).order_by("-id").first()
    if mine is None:
        return Observed(is_source_there=False)
    if mine.state in (JobState.FAILED, JobState.CANCELLED):
        return Observed(is_source_there=False, fetch_failed=(mine.reason or mine.state, mine.advice))
    return Observed(is_source_there=False, is_fetching=True)
