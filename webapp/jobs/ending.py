"""The end of a job's record: people delete it, or it is old enough. What the job made stays."""

import os
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from webapp.accounts.auditing import actor_name
from webapp.accounts.models import Role, Team, User
from webapp.accounts.roles import require_installation_admin
from webapp.accounts.services import audit, require
from webapp.foundation import work_queue
from webapp.foundation.errors import Conflict
from webapp.foundation.events import services as events
from webapp.inventory.states import HostState
from webapp.jobs import kinds
from webapp.jobs.models import Job
from webapp.jobs.services import RECONCILE, move
from webapp.jobs.states import ENDED, JobState

# 0: for ever.
RECORDS_KEPT_DAYS = int(os.environ.get("MODELYARD_JOB_RECORDS_DAYS", "365"))
EXPIRE_AT_ONCE = 200
_LEFT = ("work_kept", "work_left")


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


def give_up(user: User | None, job: Job) -> None:
    """Wait no longer for a host that does not answer: the job has failed, and a record that was to go goes.

    What it did there is neither known nor taken away. Raises Conflict while the host answers or nothing is waited for.
    """
    require_installation_admin(user)
    with transaction.atomic():
        held = Job.objects.select_for_update(of=("self",)).select_related("host", "team").filter(pk=job.pk).first()
        if held is None:
            return
        if held.host.state != HostState.UNREACHABLE:
            raise Conflict(f"{held.host.name} answers.", "Cancel it, or delete its record when it has ended.")
        if held.state in ENDED and not _has_left(held):
            raise Conflict("The job has ended.", "Delete its record.")
        audit(user, held.team, "job.give_up", str(held), {"about": held.about, "host": held.host.name})
        result = {name: said for name, said in held.result.items() if name not in _LEFT}
        if held.state not in ENDED:
            what = f"Given up by {actor_name(user)}: {held.host.name} does not answer."
            move(held, JobState(held.state), JobState.FAILED, what, advice="", container_id="", result=result)
            kinds.of(held).give_up(held)
        elif held.is_leaving:
            forget(held)
        else:
            Job.objects.filter(pk=held.pk).update(result=result, next_due_at=None)


def is_stuck(job: Job) -> bool:
    """Whether it can be given up: something of it is waited for from a host that does not answer."""
    return job.host.state == HostState.UNREACHABLE and (job.state not in ENDED or _has_left(job))


def forget(job: Job) -> None:
    """Nothing of it is left on its host: the row goes."""
    with transaction.atomic():
        events.publish(f"jobs:{job.team_id or 'all'}", f"job:{job.pk}")
        Job.objects.filter(pk=job.pk).delete()


def _let_go(job: Job) -> None:
    if not _has_left(job):
        forget(job)
        return
    # A worker takes away what lies on the host, then the row.
    Job.objects.filter(pk=job.pk).update(is_leaving=True, next_due_at=Now())
    events.publish(f"jobs:{job.team_id or 'all'}", f"job:{job.pk}")
    work_queue.enqueue(RECONCILE, job.pk)


def _has_left(job: Job) -> bool:
    """Whether files of it lie on its host. What an earlier attempt kept, the one that succeeded has used up."""
    return job.state != JobState.SUCCEEDED and any(job.result.get(name) for name in _LEFT)


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
