"""Every change of a job: asked for by people (queue, cancel, retry), carried out by workers (move, record)."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog.models import Artifact
from webapp.control.kinds import Kind
from webapp.control.moves import States
from webapp.foundation import work_queue
from webapp.foundation.errors import Conflict
from webapp.foundation.events import services as events
from webapp.foundation.text import one_line
from webapp.inventory.models import Host
from webapp.inventory.services import HOST_LANE
from webapp.jobs import kinds
from webapp.jobs.models import Job, JobEvent, JobKind
from webapp.jobs.states import ENDED, MOVES, JobState

RECONCILE = "jobs.reconcile"


def queue_fetch(user: User | None, team: Team | None, artifact: Artifact, host: Host, params: dict[str, Any]) -> Job:
    """Have the artifact's files brought to the host. One fetch per artifact and host runs at a time."""
    return queue_job(user, team, JobKind.FETCH, artifact, host, params)


def queue_job(
    user: User | None, team: Team | None, kind: JobKind, artifact: Artifact, host: Host, params: dict[str, Any]
) -> Job:
    """Ask for long work on an artifact. One job of a kind per artifact and host runs at a time; it is returned.

    Of a kind with recipes, one of each recipe and team. Another team's job is nobody's to see: Conflict.
    """
    with transaction.atomic():
        running = Job.objects.filter(kind=kind, artifact=artifact, host=host).exclude(
            state__in=[state.value for state in ENDED]
        )
        same = [job for job in running if job.params.get("recipe") == params.get("recipe")]
        if kind == JobKind.QUANTISE:
            same = [job for job in same if job.team_id == (team.pk if team else None)]
        for there in same:
            if there.team_id == (team.pk if team else None):
                return there
            raise Conflict(f"Another team's job works on {artifact} on {host.name}.", "Wait until it has ended.")
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
        if not running.update(
            is_cancel_wanted=True, cancel_asked_at=Coalesce("cancel_asked_at", Now()), next_due_at=Now()
        ):
            raise Conflict("The job has already finished.")
        audit(user, job.team, "job.cancel", str(job))
        _announce(job)
        work_queue.enqueue(RECONCILE, job.pk)


def retry(user: User | None, job: Job) -> None:
    """Run a failed or cancelled job once more, as its next attempt."""
    if job.team is not None:
        require(user, job.team, Role.OPERATOR)
    with transaction.atomic():
        # Its row is held: a deletion that began a moment ago is waited for, and a later one finds it queued.
        held = Job.objects.select_for_update().filter(pk=job.pk).first()
        if held is not None and held.is_leaving:
            raise Conflict("The job is being deleted.", "Request it again.")
        if not move(
            job, JobState(job.state), JobState.QUEUED, "asked to try again",
            attempt=job.attempt + 1, is_cancel_wanted=False, cancel_asked_at=None, next_due_at=Now(),
            advice="", ended_at=None, message="",
            step="", done=None, total=None, unit="", speed=None, container_id="", missing_since=None, stalls=0,
        ):  # fmt: skip
            raise Conflict("The job has moved on meanwhile.", "Look at it again.")
        kinds.of(job).begin_again(job)
        audit(user, job.team, "job.retry", str(job))
        work_queue.enqueue(RECONCILE, job.pk)


class _Jobs(States[Job]):
    model = Job
    moves = MOVES

    def columns(self, row: Job, old: JobState, new: JobState) -> dict[str, Any]:
        return {"ended_at": timezone.now(), "next_due_at": None} if new in ENDED else {}

    def moved(self, row: Job, old: JobState, new: JobState, reason: str) -> None:
        """One line of history, and word to pages."""
        JobEvent.objects.create(job=row, old_state=old, new_state=new, reason=reason)
        _announce(row)


STATES = _Jobs()
JOB = Kind(Job, RECONCILE, ("team", "host", "artifact__catalog_model"), lane=HOST_LANE)
move = STATES.move


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
        said = {"step": one_line(step)[:40], "unit": one_line(unit)[:20], "message": one_line(message)[:300]}
        if running.update(**said, done=done, total=total, speed=speed):
            _announce(Job.objects.get(pk=job_id))


PAUSED = "paused from outside"


def record_paused(job: Job, container: str) -> None:
    """Its container was paused with Docker: nothing goes on, and nobody but whoever paused it can say when."""
    text = f"{PAUSED} (docker pause); resume it with: docker unpause {container}"
    record_progress(job.pk, job.step, job.done, job.total, job.unit, message=text)


def record_unpaused(job: Job) -> None:
    """It goes on; its container will say how far it is."""
    record_progress(job.pk, job.step, job.done, job.total, job.unit)


def _announce(job: Job) -> None:
    events.publish(f"jobs:{job.team_id or 'all'}", f"job:{job.pk}")
