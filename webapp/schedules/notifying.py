"""Who is told what: one row per message and target, written with what happened or found by the sweep."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import Team
from webapp.deployments.models import Replica, Rollout
from webapp.deployments.states import ReplicaState, RolloutState
from webapp.foundation import work_queue
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.schedules import firing
from webapp.schedules.models import Notification, ScheduleRun, Target
from webapp.schedules.states import NotificationState, RunState

# What people can be told, by the name that a target keeps.
EVENTS = {
    "schedule.succeeded": "Schedule run succeeded",
    "schedule.rejected": "Result did not pass the quality gate",
    "schedule.failed": "Schedule run failed",
    "job.succeeded": "Job succeeded",
    "job.failed": "Job failed",
    "deployment.failed": "Deployment failed or was rolled back",
}
TEST = "test"
# How far back the sweep looks for ends that nobody was told of: workers may have been away.
LOOK_BACK = timedelta(hours=24)
# What became of a message can be looked up for so long.
KEPT = timedelta(days=90)
# One sweep removes at most so many: a long delete would hold up everybody who writes.
EXPIRE_AT_ONCE = 1000
_RUN_EVENTS = {
    RunState.SUCCEEDED: "schedule.succeeded",
    RunState.REJECTED: "schedule.rejected",
    RunState.FAILED: "schedule.failed",
}


def tell_run(run: ScheduleRun) -> None:
    """A run has ended. In the transaction that ends it."""
    event = _RUN_EVENTS.get(RunState(run.state))
    if event is None:
        return
    results = [
        {"label": result["label"], "artifact": result.get("artifact"), "is_passed": result.get("is_passed", False)}
        for result in run.results
    ]
    about = {
        "schedule": {"id": run.schedule.pk, "name": run.schedule.name}, "run": run.pk, "reason": run.reason,
        "results": results, "served": run.served, "link": f"{settings.MODELYARD_URL}/schedules/{run.schedule.pk}/",
    }  # fmt: skip
    said = f"Schedule {run.schedule.name}: {run.state}. {run.reason}"
    tell(run.schedule.team, event, f"run:{run.pk}", said, about)


def tell(team: Team, event: str, key: str, text: str, about: dict[str, Any], ended_at: Any = None) -> None:
    """Write a message for every target of the team that wants the event and was there when it happened; once per key.
    `ended_at`: None is now."""
    for target in Target.objects.filter(team=team):
        if _wants(target, event, ended_at):
            send_to(target, event, key, text, about)


def _wants(target: Target, event: str, ended_at: Any) -> bool:
    return event in target.events and (ended_at is None or target.created_at < ended_at)


def send_to(target: Target, event: str, key: str, text: str, about: dict[str, Any]) -> Notification:
    with transaction.atomic():
        row, created = Notification.objects.get_or_create(
            target=target, key=f"{event}:{key}"[:120],
            defaults={
                "event": event, "next_due_at": timezone.now(),
                "payload": {"event": event, "team": target.team.slug, "text": text, **about},
            },
        )  # fmt: skip
        if created:
            work_queue.enqueue(firing.DELIVER, row.pk)
    return row


def sweep() -> None:
    """Ends in apps below this one, which do not know of it: jobs, rollouts and replicas that gave up."""
    wanted: dict[int, set[str]] = {}
    since: dict[int, Any] = {}
    for target in Target.objects.only("team_id", "events", "created_at"):
        wanted.setdefault(target.team_id, set()).update(target.events)
        since[target.team_id] = min(since.get(target.team_id, target.created_at), target.created_at)
    for team_id, events in wanted.items():
        team = Team.objects.get(pk=team_id)
        after = max(since[team_id], timezone.now() - LOOK_BACK)
        if events & {"job.succeeded", "job.failed"}:
            _tell_jobs(team, after)
        if "deployment.failed" in events:
            _tell_deployments(team, after)


def expire(now: Any = None) -> int:
    """Remove old messages that were sent or given up; how many."""
    old = Notification.objects.filter(created_at__lt=(now or timezone.now()) - KEPT)
    ended = old.exclude(state=NotificationState.PENDING).order_by("pk").values_list("pk", flat=True)
    return Notification.objects.filter(pk__in=list(ended[:EXPIRE_AT_ONCE])).delete()[0]


def _tell_jobs(team: Team, after: Any) -> None:
    for job in Job.objects.filter(pk__in=_untold(team, after)).select_related("artifact__catalog_model", "host"):
        about = {"job": {"id": job.pk, "kind": job.kind, "about": job.about, "host": job.host.name}}
        link = {"reason": job.reason, "link": f"{settings.MODELYARD_URL}/jobs/{job.pk}/"}
        said = f"Job {job.pk} ({job.kind} of {job.about}): {job.state}. {job.reason}".strip()
        tell(team, f"job.{job.state}", f"{job.pk}:{job.attempt}", said, {**about, **link}, job.ended_at)


def _untold(team: Team, after: Any) -> list[int]:
    """Ended jobs of which a target has yet to be told: three queries, however many there are."""
    targets = list(Target.objects.filter(team=team))
    # A message is younger than what it is about; so what was told in all the years before is not read.
    rows = Notification.objects.filter(target__in=targets, event__startswith="job.", created_at__gt=after)
    told = set(rows.values_list("target_id", "key"))
    ended = Job.objects.filter(team=team, ended_at__gt=after, state__in=[JobState.SUCCEEDED, JobState.FAILED])
    return [
        pk
        for pk, attempt, state, ended_at in ended.values_list("pk", "attempt", "state", "ended_at")
        for target in targets
        if _wants(target, f"job.{state}", ended_at) and (target.pk, f"job.{state}:{pk}:{attempt}") not in told
    ]


def _tell_deployments(team: Team, after: Any) -> None:
    given_up = Rollout.objects.filter(deployment__team=team, state=RolloutState.FAILED, ended_at__gt=after)
    for rollout in given_up.select_related("deployment"):
        deployment = rollout.deployment
        said = f"Deployment {deployment.name} was rolled back. {rollout.reason}"
        about = _about(deployment, rollout.reason)
        tell(team, "deployment.failed", f"rollout:{rollout.pk}", said, about, rollout.ended_at)
    dead = Replica.objects.filter(
        deployment__team=team, state=ReplicaState.FAILED, next_due_at=None, retired_at=None, state_at__gt=after
    )
    for replica in dead.select_related("deployment"):
        said = f"Deployment {replica.deployment.name}, replica {replica.number} failed. {replica.reason}"
        key = f"replica:{replica.pk}:{replica.attempt}"
        tell(team, "deployment.failed", key, said, _about(replica.deployment, replica.reason), replica.state_at)


def _about(deployment: Any, reason: str) -> dict[str, Any]:
    link = f"{settings.MODELYARD_URL}/deployments/{deployment.pk}/"
    return {"deployment": {"id": deployment.pk, "name": deployment.name}, "reason": reason, "link": link}
