"""How a job ends that does not succeed: what is taken away, what is kept for another try."""

import logging
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp.control import lease
from webapp.control.steps import Pause
from webapp.inventory import services as inventory
from webapp.jobs import ending
from webapp.jobs import kinds as ends
from webapp.jobs import services as jobs
from webapp.jobs.decide import KEPT_S
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from workers.controllers import looks
from workers.controllers.job import kinds
from workers.controllers.job.beginning import CannotBegin
from workers.runtime import specs
from workers.runtime.base import ImageMissing, NameTaken, Runtime, StartRefused

logger = logging.getLogger(__name__)

CLEAN_UP_S = 8.0
# A disk so full that Docker makes no container has no room for the one that takes files away either: it is tried again.
CLEAN_AGAIN_S = 60


def fail(runtime: Runtime, job: Job, message: str, advice: str, *, keeps: bool = False) -> Pause:
    is_clean = keeps or clean_up(runtime, job)
    name = job.container_name
    more: dict[str, Any] = {}
    if job.phase or not is_clean:
        # Finished steps wait a day for another try; then the space is given back.
        later_s = KEPT_S if keeps else CLEAN_AGAIN_S
        more = {"result": {**job.result, "work_kept": keeps, "work_left": not is_clean}}
        if keeps or not is_clean:
            more["next_due_at"] = timezone.now() + timedelta(seconds=later_s)
    if end_badly(job, JobState.FAILED, message, advice=advice[:500], **more):
        runtime.remove(name)
    return None


def let_go(runtime: Runtime, job: Job, is_last_try: bool) -> Pause:
    """An ended job whose files are still there: those of finished steps that nobody went on with, and what could not be
    taken away at once."""
    if not clean_up(runtime, job) and not is_last_try:
        return CLEAN_AGAIN_S
    if job.is_leaving:
        ending.forget(job)
    else:
        lease.note(job, result={**job.result, "work_kept": False, "work_left": False})
    return None


def give_up(job: Job, message: str, advice: str) -> Pause:
    """The next container cannot be made. Before the first one nothing was begun, so nothing is to be taken away."""
    if job.phase:
        return fail(looks.contact(job.host), job, message, advice)
    end_badly(job, JobState.FAILED, message, advice=advice[:500])
    return None


def end_badly(job: Job, state: JobState, message: str, **columns: Any) -> bool:
    with transaction.atomic():
        moved = jobs.move(job, JobState(job.state), state, message, **columns)
        if moved:
            ends.of(job).fail(job)
    return moved


def cancel(runtime: Runtime, job: Job, container_id: str) -> Pause:
    """Somebody asked for it: away with the container and what it has done."""
    if container_id:
        runtime.remove(container_id)
        lease.note(job, container_id="")
    more: dict[str, Any] = {"result": {}}
    if not clean_up(runtime, job):
        more = {"result": {"work_left": True}, "next_due_at": timezone.now() + timedelta(seconds=CLEAN_AGAIN_S)}
    end_badly(job, JobState.CANCELLED, "cancelled", phase=0, reached=0, **more)
    return None


def clean_up(runtime: Runtime, job: Job) -> bool:
    """Take away what was done in part; whether that is done. Finished files have their final names and stay."""
    who = specs.labels(str(inventory.installation().pk), "probe", job.pk, 1, job.attempt)
    try:
        spec = kinds.of(job).clean_up(job, who)
        if spec is None:
            return True
        runtime.remove(spec.name)
        code, _said = runtime.run(spec, CLEAN_UP_S)
    except (CannotBegin, ImageMissing) as fault:
        logger.warning("%s: partial files stay: %s", job, fault)
        return True  # nor could another try
    except (NameTaken, StartRefused) as fault:
        logger.warning("%s: partial files stay for now: %s", job, fault)
        return False
    return code == 0
