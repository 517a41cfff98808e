"""The end of a job's record: people delete it, or it is old enough. What the job made stays."""

import os
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from webapp.accounts.models import Role, Team, User
from webapp.accounts.roles import require_installation_admin
from webapp.accounts.services import audit, require
from webapp.foundation import work_queue
from webapp.foundation.errors import Conflict
from webapp.foundation.events import services as events
from webapp.jobs.models import Job
from webapp.jobs.services import RECONCILE
from webapp.jobs.states import ENDED, JobState

# 0: for ever.
RECORDS_KEPT_DAYS = int(os.environ.get("MODELYARD_JOB_RECORDS_DAYS", "365"))
EXPIRE_AT_ONCE = 200


def delete(user: User | None, job: Job) -> None:
    """Forget a job that has ended, with its log. Files that it left half done on its host go first.

    Raises Conflict while it has not ended.
    """
    _require(user, job.team)
    with transaction.atomic():
        held = _ended().select_for_update().filter(pk=job.pk).first()
        if held is None:
            raise Conflict("The job has not ended.", "Cancel it first.")
        if _awaited().filter(pk=job.pk).exists():
            raise Conflict("A run of a schedule still waits for what it made.", "Delete it when the run has ended.")
        audit(user, job.team, "job.delete", str(job), {"about": held.about, "state": held.state})
        _let_go(held)


def delete_ended(user: User | None, team: Team) -> int:
    """Forget all jobs of the team that have ended and that no run waits for; how many there were."""
    _require(user, team)
    with transaction.atomic():
        rows = list(_ended().select_for_update().filter(team=team).exclude(pk__in=_awaited().values("pk")))
        if rows:
            audit(user, team, "job.delete_ended", team.name, {"jobs": len(rows)})
        for row in rows:
            _let_go(row)
    return len(rows)


def expire(now: datetime | None = None) -> int:
    """Forget some of the jobs that ended too long ago. Returns how many."""
    if not RECORDS_KEPT_DAYS:
        return 0
    edge = (now or timezone.now()) - timedelta(days=RECORDS_KEPT_DAYS)
    with transaction.atomic():
        old = _ended().select_for_update().filter(is_leaving=False, ended_at__lt=edge)
        rows = list(old.exclude(pk__in=_awaited().values("pk"))[:EXPIRE_AT_ONCE])
        if rows:
            audit(None, None, "job.expire", "jobs", {"before": edge.isoformat(), "removed": len(rows)})
        for row in rows:
            _let_go(row)
    return len(rows)


def forget(job: Job) -> None:
    """Nothing of it is left on its host: the row goes."""
    with transaction.atomic():
        events.publish(f"jobs:{job.team_id or 'all'}", f"job:{job.pk}")
        Job.objects.filter(pk=job.pk).delete()


def _let_go(job: Job) -> None:
    # What an earlier attempt kept, the one that succeeded has used up.
    has_left = job.result.get("work_kept") or job.result.get("work_left")
    if job.state == JobState.SUCCEEDED or not has_left:
        forget(job)
        return
    # A worker takes away what lies on the host, then the row.
    Job.objects.filter(pk=job.pk).update(is_leaving=True, next_due_at=Now())
    events.publish(f"jobs:{job.team_id or 'all'}", f"job:{job.pk}")
    work_queue.enqueue(RECONCILE, job.pk)


def _ended() -> QuerySet[Job]:
    return Job.objects.filter(state__in=[state.value for state in ENDED]).order_by("pk")


def _awaited() -> QuerySet[Job]:
    """Jobs of a schedule's run that has not ended: it would take what they made for lost."""
    return Job.objects.filter(schedule_runs__isnull=False, schedule_runs__ended_at=None)


def _require(user: User | None, team: Team | None) -> None:
    if team is None:
        require_installation_admin(user)
    else:
        require(user, team, Role.OPERATOR)
