"""Carry out one step of a run. Each is safe to repeat after a crash in its middle."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp.accounts.ownership import check_usable
from webapp.catalog import hubs, inspecting
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact, Hub
from webapp.control import lease
from webapp.control.steps import GO_ON, Pause
from webapp.foundation.errors import Conflict, ServiceError, Unavailable
from webapp.jobs import fetching
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import ENDED as JOB_ENDED
from webapp.jobs.states import JobState
from webapp.schedules import decide, firing, quantising, serving, tidying
from webapp.schedules.decide import AGAIN_S, CHOOSE_SOURCE, End
from webapp.schedules.gates import evaluate
from webapp.schedules.lifecycle import RUNS
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.states import RunState

# A hub that stays away: the run gives up after so long.
PATIENCE = timedelta(days=1)
HUB_AGAIN_S = 300.0


def carry_out(step: decide.Step, run: ScheduleRun) -> Pause:
    """Do it; GO_ON when the next step may follow at once."""
    try:
        return _DO[type(step)](run, step)
    except Unavailable as error:
        # What is away may come back; after a day it is a failure.
        if timezone.now() - run.created_at <= PATIENCE:
            return _say(run, decide.Say(f"Waits: {error.what}", HUB_AGAIN_S))
        return _end(run, End(RunState.FAILED, error.what, error.advice))
    except ServiceError as error:
        return _end(run, End(RunState.FAILED, error.what, error.advice))


def _cancel_jobs(run: ScheduleRun, _step: decide.CancelJobs) -> Pause:
    going = run.jobs.exclude(state__in=[state.value for state in JOB_ENDED])
    for job in going.filter(is_cancel_wanted=False):
        with contextlib.suppress(Conflict):  # it has ended since we looked
            jobs.cancel(None, job)
    return AGAIN_S


def _say(run: ScheduleRun, step: decide.Say) -> Pause:
    if run.reason != step.reason[:500] and lease.note(run, reason=step.reason[:500]):
        firing.announce(run.schedule)
    return step.seconds


def _find_source(run: ScheduleRun, _step: decide.FindSource) -> Pause:
    schedule = run.schedule
    commit = ""
    if schedule.repo:
        if schedule.hub is None:
            return _end(run, End(RunState.FAILED, "The hub of this schedule was removed.", CHOOSE_SOURCE))
        if not Hub.objects.open_to([schedule.team]).filter(pk=schedule.hub.pk).exists():
            what = f"Team {schedule.team.name} may not use {schedule.hub.name} any more."
            return _end(run, End(RunState.FAILED, what, CHOOSE_SOURCE))
        found = hubs.repo(schedule.hub, schedule.repo, schedule.revision)
        commit = found.commit
        source = _known(schedule, commit)
        if source is None:
            source = catalog.add_artifact(schedule.team, inspecting.inspect_repo(schedule.hub, found, schedule.variant))
    elif schedule.artifact is None:
        return _end(run, End(RunState.FAILED, "The artifact it was made from was deleted.", CHOOSE_SOURCE))
    else:
        source = schedule.artifact
        check_usable(source, schedule.team)
    began: dict[str, Any] = {"started_at": timezone.now(), "source": source, "commit": commit, "advice": ""}
    if RUNS.move(run, RunState.WAITING, RunState.RUNNING, **began):
        Schedule.objects.filter(pk=schedule.pk).update(seen_commit=commit, note="")
    return GO_ON


def _known(schedule: Schedule, commit: str) -> Artifact | None:
    assert schedule.hub is not None
    origin = f"hub:{schedule.hub.pk}:{schedule.repo}@{commit}:{schedule.variant}"[:500]
    known = Artifact.objects.open_to([schedule.team]).filter(origin=origin, is_leaving=False)
    return known.select_related("catalog_model").order_by("pk").first()


def _fetch(run: ScheduleRun, _step: decide.Fetch) -> Pause:
    """Get the source to the host, once; its job is one of the run's."""
    assert run.source is not None
    with transaction.atomic():
        run.jobs.add(fetching.to_host(None, run.schedule.team, run.source, run.schedule.host))
    return _say(run, decide.Say("Fetches the source.", AGAIN_S))


def _queue_jobs(run: ScheduleRun, _step: decide.QueueJobs) -> Pause:
    """One job per recipe, all in one transaction, so that a crash leaves all of them or none."""
    source = run.source
    assert source is not None
    results: list[dict[str, Any]] = []
    with transaction.atomic():
        for recipe in run.schedule.recipe_list:
            result: dict[str, Any] = {"label": recipe.label, "recipe": recipe.full(), "job": None, "refused": ""}
            try:
                job = quantising.queue(run.schedule, source, recipe)
            except ServiceError as refusal:
                result["refused"] = str(refusal)
            else:
                run.jobs.add(job)
                result["job"] = job.pk
            results.append(result)
        if not lease.note(run, results=results, has_queued=True, reason=""):
            transaction.set_rollback(True)  # somebody else has the run
        firing.announce(run.schedule)
    return AGAIN_S


def _judge(run: ScheduleRun, _step: decide.Judge) -> Pause:
    by_id = {job.pk: job for job in run.jobs.all()}
    results = [_judged(run, result, by_id.get(result["job"])) for result in run.results]
    spent_s, price = _cost(run, list(by_id.values()))
    lease.note(run, results=results, cost_seconds=spent_s, cost=price)
    return GO_ON


def _judged(run: ScheduleRun, result: dict[str, Any], job: Job | None) -> dict[str, Any]:
    if job is None or job.state != JobState.SUCCEEDED:
        why = result["refused"] or (job.reason or f"the job was {job.state}" if job else "its job was deleted")
        return {**result, "refused": why, "is_passed": False}
    made = quantising.made_by(job)
    if made.artifact is None:
        return {**result, "refused": "its artifact was deleted meanwhile", "is_passed": False}
    checks = evaluate(run.schedule.limits, made.values)
    return {
        **result, "artifact": made.artifact.pk, "name": str(made.artifact), "values": made.values,
        "checks": [{**check.as_json(), "words": check.words} for check in checks],
        "is_passed": all(check.is_passed for check in checks),
    }  # fmt: skip


def _serve(run: ScheduleRun, _step: decide.Serve) -> Pause:
    """Roll the deployment to the first result that passed."""
    serving.begin(run, [result for result in run.results if result["is_passed"]])
    return AGAIN_S


def _end(run: ScheduleRun, step: End) -> Pause:
    RUNS.move(run, RunState(run.state), step.state, step.reason, advice=step.advice[:500])
    if run.schedule.keep_last:
        tidying.keep_last(run.schedule)
    return None


def _cost(run: ScheduleRun, of_jobs: list[Job]) -> tuple[float, Decimal | None]:
    """Seconds that the jobs took, and what the host costs for so long."""
    spent_s = sum(_seconds(job.started_at, job.ended_at) for job in of_jobs)
    price = run.schedule.host.price_per_hour
    cost = None if price is None else (price * Decimal(spent_s) / 3600).quantize(Decimal("0.0001"))
    return spent_s, cost


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return (end - start).total_seconds() if start and end else 0.0


_DO: dict[type, Callable[[ScheduleRun, Any], Pause]] = {
    decide.CancelJobs: _cancel_jobs,
    decide.Say: _say,
    decide.FindSource: _find_source,
    decide.Fetch: _fetch,
    decide.QueueJobs: _queue_jobs,
    decide.Judge: _judge,
    decide.Serve: _serve,
    End: _end,
}
