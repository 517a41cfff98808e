"""Every change of a job: asked for by people (queue, cancel, retry), carried out by workers (claim, move, record)."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog.models import Artifact
from webapp.foundation import work_queue
from webapp.foundation.errors import Conflict
from webapp.foundation.events import services as events
from webapp.inventory.models import Host
from webapp.jobs import kinds
from webapp.jobs.models import Job, JobEvent, JobKind
from webapp.jobs.states import ENDED, JobState, may_move

RECONCILE = "jobs.reconcile"
LEASE_S = 28  # longer than the 25 s after which a task is killed


def queue_fetch(user: User | None, team: Team | None, artifact: Artifact, host: Host, params: dict[str, Any]) -> Job:
    """Have the artifact's files brought to the host. One fetch per artifact and host runs at a time."""
    return queue_job(user, team, JobKind.FETCH, artifact, host, params)


def queue_job(
    user: User | None, team: Team | None, kind: JobKind, artifact: Artifact, host: Host, params: dict[str, Any]
) -> Job:
    """Ask for long work on an artifact. One job of a kind per artifact and host runs at a time; it is returned.

    Of a kind with recipes, one of each recipe.
    """
    with transaction.atomic():
        running = Job.objects.filter(kind=kind, artifact=artifact, host=host).exclude(
            state__in=[state.value for state in ENDED]
        )
        there = next((job for job in running if job.params.get("recipe") == params.get("recipe")), None)
        if there is not None:
            return there
        job = Job.objects.create(
            kind=kind,
            team=team,
            requested_by=user,
            host=host,
            artifact=artifact,
            subject=str(artifact)[:200],
            params=params,
            next_due_at=Now(),
        )
        audit(user, team, f"job.{kind.value}", str(artifact), {"host": host.name})
        _announce(job)
        work_queue.enqueue(RECONCILE, job.pk)
    return job


def cancel(user: User | None, job: Job) -> None:
    """Ask for the job to stop; partial files are removed. Raises Conflict when it has ended already."""
    if job.team is not None:
        require(user, job.team, Role.OPERATOR)
    with transaction.atomic():
        running = Job.objects.filter(pk=job.pk).exclude(state__in=[state.value for state in ENDED])
        if not running.update(is_cancel_wanted=True, next_due_at=Now()):
            raise Conflict("The job has ended already.")
        audit(user, job.team, "job.cancel", str(job))
        _announce(job)
        work_queue.enqueue(RECONCILE, job.pk)


def retry(user: User | None, job: Job) -> None:
    """Run a failed or cancelled job once more, as its next attempt."""
    if job.team is not None:
        require(user, job.team, Role.OPERATOR)
    with transaction.atomic():
        if not move(
            job, JobState(job.state), JobState.QUEUED, "asked to try again",
            attempt=job.attempt + 1, is_cancel_wanted=False, next_due_at=Now(), advice="", ended_at=None, message="",
            step="", done=None, total=None, unit="", speed=None, container_id="", missing_since=None, stalls=0,
        ):  # fmt: skip
            raise Conflict("The job has moved on meanwhile.", "Look at it again.")
        kinds.of(job).begin_again(job)
        audit(user, job.team, "job.retry", str(job))
        work_queue.enqueue(RECONCILE, job.pk)


def claim(job_id: int) -> Job | None:
    """Take the row for LEASE_S seconds; None when it is gone or held (then the holder looks once more)."""
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    won = Job.objects.filter(free, pk=job_id).update(
        lease_until=Now() + timedelta(seconds=LEASE_S), epoch=F("epoch") + 1
    )
    if not won:
        Job.objects.filter(pk=job_id).update(wakes=F("wakes") + 1)
        return None
    return _read(job_id)


def reread(job: Job) -> Job | None:
    """The row as it is now; None when the claim is lost or the row gone."""
    fresh = _read(job.pk)
    return fresh if fresh is not None and fresh.epoch == job.epoch else None


def _read(job_id: int) -> Job | None:
    return Job.objects.select_related("team", "host", "artifact__catalog_model").filter(pk=job_id).first()


def release(job: Job, due_in_s: float | None) -> bool:
    """Give the row back; a due date that somebody set meanwhile stays. True: somebody called, look again at once."""
    held = Job.objects.filter(pk=job.pk, epoch=job.epoch)
    due = None if due_in_s is None else Now() + timedelta(seconds=due_in_s)
    held.filter(_unchanged_due(job.next_due_at)).update(next_due_at=due)
    held.update(lease_until=None)
    return Job.objects.filter(pk=job.pk).exclude(wakes=job.wakes).exists()


def _unchanged_due(seen: datetime | None) -> Q:
    """Due as it was seen, within a millisecond: SQLite's clock writes three digits and Django six."""
    if seen is None:
        return Q(next_due_at=None)
    millisecond = timedelta(milliseconds=1)
    return Q(next_due_at=None) | Q(next_due_at__gt=seen - millisecond, next_due_at__lt=seen + millisecond)


def note(job: Job, **columns: Any) -> bool:
    """Write columns that are no state, while the claim holds."""
    changed = Job.objects.filter(pk=job.pk, epoch=job.epoch).update(**columns)
    for name, value in columns.items():
        setattr(job, name, value)
    return bool(changed)


def move(job: Job, old: JobState, new: JobState, reason: str = "", **columns: Any) -> bool:
    """Change the state if it is still `old` and the claim holds; diary in the same transaction, publish after it.

    False means somebody was first. Raises Conflict for a move that the table does not allow.
    """
    if not may_move(old, new):
        raise Conflict(f"A job that is {old} cannot become {new}.")
    if new in ENDED:
        columns = {"ended_at": timezone.now(), "next_due_at": None, **columns}
    with transaction.atomic():
        changed = Job.objects.filter(pk=job.pk, state=old, epoch=job.epoch).update(
            state=new, reason=reason[:500], **columns
        )
        if not changed:
            return False
        JobEvent.objects.create(job=job, old_state=old, new_state=new, reason=reason[:500])
        _announce(job)
    job.refresh_from_db()
    return True


def record_progress(
    job_id: int,
    step: str,
    done: int | None,
    total: int | None,
    unit: str,
    speed: float | None = None,
    message: str = "",
) -> None:
    """Numbers as the job's container printed them; `speed` in units per second."""
    with transaction.atomic():
        # Its container may speak before the worker has written that it runs.
        running = Job.objects.filter(pk=job_id, state__in=[JobState.QUEUED, JobState.RUNNING])
        if running.update(step=step[:40], done=done, total=total, unit=unit[:20], speed=speed, message=message[:300]):
            _announce(Job.objects.get(pk=job_id))


def _announce(job: Job) -> None:
    events.publish(f"jobs:{job.team_id or 'all'}", f"job:{job.pk}")
