"""A run, step by step: wait, fetch, quantise, judge, serve, tidy. Every step is safe to repeat."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp.catalog import hubs, inspecting
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact, CopyState
from webapp.foundation import work_queue
from webapp.foundation.errors import Conflict, Refused, Unavailable
from webapp.jobs import fetching
from webapp.jobs import services as jobs
from webapp.jobs.models import Job, JobKind
from webapp.jobs.states import ENDED as JOB_ENDED
from webapp.jobs.states import JobState
from webapp.schedules import firing, notifying, quantising, quiet, serving, tidying
from webapp.schedules.gates import judge
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.states import ENDED, RunState, may_move

# Longer than a task may take: nobody else looks meanwhile.
LEASE_S = 60
AGAIN_S = 5
WAIT_S = 60
# A hub that stays away: the run gives up after so long.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Look:
    """When to look again: nothing more can be done now."""

    in_s: float


@dataclass(frozen=True)
class End:
    """How the run ends."""

    state: RunState
    reason: str
    advice: str = ""


Step = Callable[[ScheduleRun], Look | End | None]


def advance(run_id: int) -> None:
    """Bring the run as far as it can go now. Delivered twice, late or after a crash, it does nothing twice."""
    run = _claim(run_id)
    if run is None:
        return
    try:
        outcome = _steps(run)
    except Unavailable as error:
        outcome = _patient(run, error)
    except Refused as error:
        outcome = End(RunState.FAILED, error.what, error.advice)
    if isinstance(outcome, End):
        _end(run, outcome)
    else:
        # Somebody who asked for a look meanwhile (a cancelled run) has put another time there, which stays.
        mine = ScheduleRun.objects.filter(pk=run.pk, next_look_at=run.next_look_at)
        moved = mine.update(next_look_at=timezone.now() + timedelta(seconds=outcome.in_s))
        if moved and outcome.in_s <= AGAIN_S:
            # Sooner than a sweep would notice. Who comes before its time claims nothing, so there is one such chain.
            work_queue.send(firing.ADVANCE, run.pk, in_s=outcome.in_s)


def move(run: ScheduleRun, new: RunState, reason: str = "", **columns: Any) -> bool:
    """The only writer of `state`: False means somebody was first. Raises Conflict for a move that is none."""
    old = RunState(run.state)
    if not may_move(old, new):
        raise Conflict(f"A run that is {old} cannot become {new}.")
    if new in ENDED:
        columns = {"ended_at": timezone.now(), "next_look_at": None, **columns}
    with transaction.atomic():
        changed = ScheduleRun.objects.filter(pk=run.pk, state=old).update(state=new, reason=reason[:500], **columns)
        if not changed:
            return False
        firing.wake(run.schedule, run.pk)
        run.refresh_from_db(fields=["state", "reason", *columns])
        if new in ENDED:
            notifying.tell_run(run)
    return True


def _claim(run_id: int) -> ScheduleRun | None:
    now = timezone.now()
    run = ScheduleRun.objects.filter(pk=run_id, next_look_at__lte=now).first()
    if run is None:
        return None
    held = ScheduleRun.objects.filter(pk=run_id, next_look_at=run.next_look_at)
    if not held.update(next_look_at=now + timedelta(seconds=LEASE_S)):
        return None
    related = (
        "schedule__team", "schedule__host", "schedule__hub", "schedule__artifact__catalog_model",
        "source__catalog_model", "schedule__deployment", "schedule__calibration", "schedule__judging",
        "schedule__prompts",
    )  # fmt: skip
    return ScheduleRun.objects.select_related(*related).get(pk=run_id)


def _steps(run: ScheduleRun) -> Look | End:
    if run.has_ended:
        return Look(WAIT_S)
    steps: tuple[Step, ...] = (_cancel, _wait, _find_source, _fetch, _queue, _watch, _serve)
    for step in steps:
        outcome = step(run)
        if outcome is not None:
            return outcome
    return _summary(run)


def _cancel(run: ScheduleRun) -> Look | End | None:
    if not run.is_cancel_wanted:
        return None
    going = run.jobs.exclude(state__in=[state.value for state in JOB_ENDED])
    for job in going.filter(is_cancel_wanted=False):
        jobs.cancel(None, job)
    return Look(AGAIN_S) if going.exists() else End(RunState.CANCELLED, "Somebody asked for it to stop.")


def _wait(run: ScheduleRun) -> Look | None:
    """Its window and the wish for quiet, for a run that nobody asked for by hand."""
    schedule = run.schedule
    if run.state != RunState.WAITING or run.asked_by:
        return None
    now = timezone.now()
    opening = schedule.timing.opening(now)
    if opening > now:
        _say(run, f"The window opens at {opening:%Y-%m-%d %H:%M} UTC.")
        return Look((opening - now).total_seconds())
    why = quiet.why_busy(schedule.host, schedule.idle_min, now) if schedule.idle_min else ""
    if why:
        _say(run, f"Waits: {why}.")
        return Look(WAIT_S)
    return None


def _find_source(run: ScheduleRun) -> End | None:
    schedule = run.schedule
    if run.state != RunState.WAITING:
        return None
    commit = ""
    if schedule.repo:
        if schedule.hub is None:
            return End(RunState.FAILED, "The hub of this schedule was removed.", "Choose another source.")
        found = hubs.repo(schedule.hub, schedule.repo, schedule.revision)
        commit = found.commit
        source = _known(schedule, commit)
        if source is None:
            source = catalog.add_artifact(inspecting.inspect_repo(schedule.hub, found, schedule.variant))
    elif schedule.artifact is None:
        return End(RunState.FAILED, "The artifact it was made from was deleted.", "Choose another source.")
    else:
        source = schedule.artifact
    run.source = source
    if move(run, RunState.RUNNING, "", started_at=timezone.now(), source=source, commit=commit, advice=""):
        Schedule.objects.filter(pk=schedule.pk).update(seen_commit=commit, note="")
    return None


def _known(schedule: Schedule, commit: str) -> Artifact | None:
    assert schedule.hub is not None
    origin = f"hub:{schedule.hub.pk}:{schedule.repo}@{commit}:{schedule.variant}"[:500]
    return Artifact.objects.filter(origin=origin, is_leaving=False).select_related("catalog_model").first()


def _fetch(run: ScheduleRun) -> Look | End | None:
    """Get the source to the host, once; its job is one of the run's."""
    source, schedule = run.source, run.schedule
    if source is None:
        return End(RunState.FAILED, "The artifact it was made from was deleted meanwhile.", "Choose another source.")
    if source.copies.filter(host=schedule.host, state=CopyState.PRESENT).exists():
        return None
    mine = run.jobs.filter(kind=JobKind.FETCH).order_by("-id").first()
    if mine is None:
        with transaction.atomic():
            run.jobs.add(fetching.to_host(None, schedule.team, source, schedule.host))
        _say(run, "Fetches the source.")
        return Look(AGAIN_S)
    if mine.state in (JobState.FAILED, JobState.CANCELLED):
        return End(RunState.FAILED, f"The source could not be fetched: {mine.reason or mine.state}.", mine.advice)
    return Look(AGAIN_S)


def _queue(run: ScheduleRun) -> Look | None:
    """One job per recipe, all in one transaction, so that a crash leaves all of them or none."""
    if run.has_queued:
        return None
    source = run.source
    assert source is not None
    results: list[dict[str, Any]] = []
    with transaction.atomic():
        for recipe in run.schedule.recipe_list:
            result: dict[str, Any] = {"label": recipe.label, "recipe": recipe.full(), "job": None, "refused": ""}
            try:
                job = quantising.queue(run.schedule, source, recipe)
            except Refused as refusal:
                result["refused"] = str(refusal)
            else:
                run.jobs.add(job)
                result["job"] = job.pk
            results.append(result)
        ScheduleRun.objects.filter(pk=run.pk).update(results=results, has_queued=True, reason="")
        firing.wake(run.schedule, run.pk)
    return Look(AGAIN_S)


def _watch(run: ScheduleRun) -> Look | None:
    """Wait for the jobs, then read and judge what they made."""
    if run.jobs.exclude(state__in=[state.value for state in JOB_ENDED]).exists():
        return Look(AGAIN_S)
    if any("is_passed" in result for result in run.results):
        return None
    by_id = {job.pk: job for job in run.jobs.all()}
    run.results = [_judged(run, result, by_id.get(result["job"])) for result in run.results]
    spent_s, price = _cost(run, list(by_id.values()))
    ScheduleRun.objects.filter(pk=run.pk).update(results=run.results, cost_seconds=spent_s, cost=price)
    return None


def _judged(run: ScheduleRun, result: dict[str, Any], job: Job | None) -> dict[str, Any]:
    if job is None or job.state != JobState.SUCCEEDED:
        why = result["refused"] or (job.reason or f"the job was {job.state}" if job else "its job was deleted")
        return {**result, "refused": why, "is_passed": False}
    made = quantising.made_by(job)
    if made.artifact is None:
        return {**result, "refused": "its artifact was deleted meanwhile", "is_passed": False}
    checks = judge(run.schedule.limits, made.values)
    return {
        **result, "artifact": made.artifact.pk, "name": str(made.artifact), "values": made.values,
        "checks": [{**check.as_json(), "words": check.words} for check in checks],
        "is_passed": all(check.is_passed for check in checks),
    }  # fmt: skip


def _serve(run: ScheduleRun) -> Look | End | None:
    """Roll the deployment to the first result that passed, and watch the rollout to its end."""
    if not run.schedule.is_served:
        return None
    passed = [result for result in run.results if result["is_passed"]]
    if not passed:
        return None
    if run.rollout is None and not run.served:
        serving.begin(run, passed)
        return Look(AGAIN_S)
    why = serving.why_not_yet(run)
    if why is None:
        return None
    return Look(AGAIN_S) if not why else End(RunState.FAILED, why, "The deployment serves what it served before.")


def _summary(run: ScheduleRun) -> End:
    passed = [result for result in run.results if result["is_passed"]]
    made = [result for result in run.results if result.get("artifact")]
    if not made:
        why = "; ".join(f"{result['label']}: {result['refused']}" for result in run.results)
        return End(RunState.FAILED, f"Nothing was made. {why}", "Look at the jobs.")
    lost = [
        f"{result['label']}: {check['words']}"
        for result in made for check in result["checks"] if not check["is_passed"]
    ]  # fmt: skip
    failed = [f"{result['label']}: {result['refused']}" for result in run.results if result["refused"]]
    if not passed:
        kept = "Nothing is served anew. " if run.schedule.is_served else ""
        return End(RunState.REFUSED, f"{kept}{'; '.join([*lost, *failed])}.", "Loosen the gate or change the recipe.")
    said = f"{run.served}." if run.served else f"Made {', '.join(result['label'] for result in made)}."
    return End(RunState.SUCCEEDED, " ".join([said, *(f"Not: {why}." for why in [*lost, *failed])]))


def _end(run: ScheduleRun, end: End) -> None:
    if end.state != RunState.WAITING and may_move(RunState(run.state), end.state):
        move(run, end.state, end.reason, advice=end.advice[:500])
    if run.schedule.keep_last:
        tidying.keep_last(run.schedule)


def _patient(run: ScheduleRun, error: Refused) -> Look | End:
    """What is away may come back; after a day it is a failure."""
    if timezone.now() - run.created_at > PATIENCE:
        return End(RunState.FAILED, error.what, error.advice)
    _say(run, f"Waits: {error.what}")
    return Look(WAIT_S * 5)


def _say(run: ScheduleRun, reason: str) -> None:
    if run.reason != reason[:500]:
        ScheduleRun.objects.filter(pk=run.pk).update(reason=reason[:500])
        firing.wake(run.schedule, run.pk)


def _cost(run: ScheduleRun, of_jobs: list[Job]) -> tuple[float, Decimal | None]:
    """Seconds that the jobs took, and what the host costs for so long."""
    spent_s = sum(_seconds(job.started_at, job.ended_at) for job in of_jobs)
    price = run.schedule.host.price_per_hour
    cost = None if price is None else (price * Decimal(spent_s) / 3600).quantize(Decimal("0.0001"))
    return spent_s, cost


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return (end - start).total_seconds() if start and end else 0.0
