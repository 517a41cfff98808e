"""Who is told what: one row per message and target, written with what happened or found by the sweep."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from webapp import queue
from webapp.accounts.models import Team
from webapp.deployments.models import Replica, Rollout
from webapp.deployments.states import ReplicaState, RolloutState
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.schedules import firing
from webapp.schedules.models import Notification, ScheduleRun, Target
from webapp.schedules.states import RunState

# What people can be told, by the name that a target keeps.
EVENTS = {
    "schedule.succeeded": "A schedule's run succeeded",
    "schedule.refused": "A result did not pass its gate",
    "schedule.failed": "A schedule's run failed",
    "job.succeeded": "A job succeeded",
    "job.failed": "A job failed",
    "deployment.failed": "A deployment failed or went back",
}
TEST = "test"
# How far back the sweep looks for ends that nobody was told of: workers may have been away.
LOOK_BACK = timedelta(hours=24)
_RUN_EVENTS = {
    RunState.SUCCEEDED: "schedule.succeeded",
    RunState.REFUSED: "schedule.refused",
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


def tell(team: Team, event: str, key: str, text: str, about: dict[str, Any]) -> None:
    """Write a message for every target of the team that wants the event; once per key."""
    for target in Target.objects.filter(team=team):
        if event in target.events:
            send_to(target, event, key, text, about)


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
            queue.enqueue(firing.DELIVER, row.pk)
    return row


def sweep() -> None:
    """Ends in rooms below this one, which do not know of it: jobs, rollouts and replicas that gave up."""
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


def _tell_jobs(team: Team, after: Any) -> None:
    ended = Job.objects.filter(team=team, ended_at__gt=after, state__in=[JobState.SUCCEEDED, JobState.FAILED])
    for job in ended.exclude(pk__in=_told(team, "job.")).select_related("artifact__catalog_model", "host"):
        about = {"job": {"id": job.pk, "kind": job.kind, "about": job.about, "host": job.host.name}}
        link = {"reason": job.reason, "link": f"{settings.MODELYARD_URL}/jobs/{job.pk}/"}
        said = f"Job {job.pk} ({job.kind} of {job.about}): {job.state}. {job.reason}".strip()
        tell(team, f"job.{job.state}", f"{job.pk}:{job.attempt}", said, {**about, **link})


def _told(team: Team, prefix: str) -> list[int]:
    """Jobs whose last attempt every target has been told of: one query instead of one per job."""
    targets = [
        target for target in Target.objects.filter(team=team) if any(e.startswith(prefix) for e in target.events)
    ]
    rows = Notification.objects.filter(target__in=targets, event__startswith=prefix).values_list("key", flat=True)
    counts: dict[str, int] = {}
    for key in rows:
        counts[key] = counts.get(key, 0) + 1
    last: dict[int, int] = {}
    for key, count in counts.items():
        if count == len(targets):
            number, attempt = (int(part) for part in key.split(":")[1:])
            last[number] = max(last.get(number, 0), attempt)
    attempts = dict(Job.objects.filter(pk__in=last).values_list("pk", "attempt"))
    return [number for number, attempt in last.items() if attempts.get(number) == attempt]


def _tell_deployments(team: Team, after: Any) -> None:
    given_up = Rollout.objects.filter(deployment__team=team, state=RolloutState.FAILED, ended_at__gt=after)
    for rollout in given_up.select_related("deployment"):
        deployment = rollout.deployment
        said = f"Deployment {deployment.name} went back to what it served before. {rollout.reason}"
        tell(team, "deployment.failed", f"rollout:{rollout.pk}", said, _about(deployment, rollout.reason))
    dead = Replica.objects.filter(
        deployment__team=team, state=ReplicaState.FAILED, next_due_at=None, retired_at=None, state_at__gt=after
    )
    for replica in dead.select_related("deployment"):
        said = f"Deployment {replica.deployment.name}, replica {replica.number} failed. {replica.reason}"
        key = f"replica:{replica.pk}:{replica.attempt}"
        tell(team, "deployment.failed", key, said, _about(replica.deployment, replica.reason))


def _about(deployment: Any, reason: str) -> dict[str, Any]:
    link = f"{settings.MODELYARD_URL}/deployments/{deployment.pk}/"
    return {"deployment": {"id": deployment.pk, "name": deployment.name}, "reason": reason, "link": link}
