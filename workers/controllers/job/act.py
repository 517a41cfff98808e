"""Carry out one step of a job: make its container once, start it, bring the result or the reason home."""

import errno
import json
import logging
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp.control import lease
from webapp.control.sightings import ABSENT_S
from webapp.control.steps import GO_ON, LOOK_AGAIN_S, Pause
from webapp.foundation.errors import ServiceError
from webapp.inventory import services as inventory
from webapp.jobs import decide, ending
from webapp.jobs import kinds as ends
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from workers.controllers import looks
from workers.controllers.job import kinds, leaving
from workers.controllers.job.beginning import CannotBegin
from workers.controllers.job.endings import LOG_LINES, plain_lines, read_ending
from workers.runtime import specs
from workers.runtime.base import (
    LABEL_INSTALLATION,
    MODELS_VOLUME,
    ContainerMissing,
    HostUnreachable,
    ImageMissing,
    NameTaken,
    Runtime,
    StartRefused,
)

logger = logging.getLogger(__name__)

# A container that is ended from outside is started again, since what it had done stays on disk; so many in a row that
# come no further than the ones before are enough.
MAX_STALLS = 3
# Killed, terminated, lost with its engine, and the programs' own "try again".
ENDED_FROM_OUTSIDE = (137, 143, 255, 75)
DISK_ADVICE = "Remove models that nobody uses on this host, or give Docker's data folder more room. Then try again."
WAIT_FOR_MEMORY_S = 15.0


def carry_out(step: decide.Step, job: Job) -> Pause:
    """Do it; GO_ON when the next step may follow at once."""
    try:
        return _DO[type(step)](looks.contact(job.host), job, step)
    except HostUnreachable as fault:
        looks.record_silence(job.host, fault)
        return LOOK_AGAIN_S
    except CannotBegin as fault:
        return leaving.give_up(job, fault.refusal.what, fault.refusal.advice)


def _remove(runtime: Runtime, _job: Job, step: decide.Remove) -> Pause:
    for container_id in step.ids:
        runtime.remove(container_id)
    return GO_ON


def _cancel(runtime: Runtime, job: Job, step: decide.Cancel) -> Pause:
    return leaving.cancel(runtime, job, step.container_id)


def _let_go(runtime: Runtime, job: Job, step: decide.LetGo) -> Pause:
    return leaving.let_go(runtime, job, step.is_last_try)


def _say_paused(_runtime: Runtime, job: Job, _step: decide.SayPaused) -> Pause:
    jobs.record_paused(job, job.container_name)
    return LOOK_AGAIN_S


def _forget(_runtime: Runtime, job: Job, _step: decide.Forget) -> Pause:
    ending.forget(job)
    return None


def _run(_runtime: Runtime, job: Job, step: decide.Run) -> Pause:
    if job.message.startswith(jobs.PAUSED):
        jobs.record_unpaused(job)
    if job.container_id != step.container_id or job.missing_since is not None:
        lease.note(job, container_id=step.container_id, missing_since=None)
    if job.state == JobState.QUEUED:
        jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=job.started_at or timezone.now())
    return LOOK_AGAIN_S


def _mark_missing(_runtime: Runtime, job: Job, _step: decide.MarkMissing) -> Pause:
    lease.note(job, missing_since=timezone.now())
    return float(ABSENT_S)


def _start_over(runtime: Runtime, job: Job, _step: decide.Again) -> Pause:
    return _again(runtime, job, "Its container was removed.")


def _create(runtime: Runtime, job: Job, _step: decide.Create) -> Pause:
    kind = kinds.of(job)
    step = kind.steps(job)[job.phase]
    known = kind.known(job, step)
    if known is not None:
        return _advance(runtime, job, known)
    installation = str(inventory.installation().pk)
    runtime.ensure_volume(MODELS_VOLUME, {LABEL_INSTALLATION: installation})
    # Which of its steps stands where a replica has its generation: so the watcher knows whose log it reads.
    who = specs.labels(installation, "job", job.pk, job.phase + 1, job.attempt)
    if not _has_memory(job, kind.memory_bytes(job)):
        return WAIT_FOR_MEMORY_S
    spec = kind.container(runtime, job, step, who)
    try:
        container_id = runtime.create(spec)
    except NameTaken:
        there = runtime.inspect(spec.name)
        if {name: there.labels.get(name) for name in spec.labels} != dict(spec.labels):
            return leaving.fail(
                runtime,
                job,
                f"A container not managed by Modelyard already uses the name {spec.name}.",
                "Remove that container.",
            )
        container_id = there.id
    except ImageMissing:
        return _fail_step(runtime, job, f"The image {spec.image} is not on {job.host.name}.", kind.image_advice)
    except StartRefused as fault:
        return _refused(runtime, job, "make", fault)
    lease.note(job, container_id=container_id, missing_since=None)
    return GO_ON


def _start(runtime: Runtime, job: Job, step: decide.Start) -> Pause:
    kind = kinds.of(job)
    secrets = kind.secrets(job, kind.steps(job)[job.phase])
    try:
        runtime.start(step.container_id, None if secrets is None else json.dumps(secrets))
    except ContainerMissing:
        return GO_ON
    except StartRefused as fault:
        return _refused(runtime, job, "start", fault)
    return GO_ON


def _refused(runtime: Runtime, job: Job, verb: str, fault: StartRefused) -> Pause:
    """Full disks stay full; for anything else one refusal may be a daemon that was ending."""
    if "no space left on device" in str(fault).lower():
        return leaving.fail(runtime, job, f"The disk of {job.host.name} is full.", DISK_ADVICE)
    pause = _again(runtime, job, f"Docker did not {verb} the container: {fault}.", advice="Check Docker on the host.")
    return LOOK_AGAIN_S if pause == GO_ON else pause


def _has_memory(job: Job, wanted_bytes: int) -> bool:
    """Reserve what the job needs; while the host has it not, the job says so and waits."""
    if not wanted_bytes:
        return True
    try:
        inventory.reserve(job.reservation_owner, job.host_id, wanted_bytes)
    except inventory.NotEnoughMemory:
        jobs.record_progress(job.pk, "waiting", None, None, "", message=f"for memory on {job.host.name}")
        return False
    return True


def _again(
    runtime: Runtime, job: Job, why: str, reached: int = 0, advice: str = "Look at what ends containers there."
) -> Pause:
    """The next attempt goes on where this one was cut off, unless several in a row came no further."""
    stalls = 1 if reached > job.reached else job.stalls + 1
    if stalls >= MAX_STALLS:
        return _fail_step(runtime, job, f"{why} It was tried {stalls} times.", advice)
    logger.info("%s: %s Trying again.", job, why)
    lease.note(
        job,
        attempt=job.attempt + 1,
        container_id="",
        missing_since=None,
        stalls=stalls,
        reached=max(reached, job.reached),
    )
    return GO_ON


def _read_end(runtime: Runtime, job: Job, step: decide.ReadEnd) -> Pause:
    try:
        container = runtime.inspect(step.container_id)
    except ContainerMissing:
        return GO_ON
    log = runtime.log_tail(step.container_id, LOG_LINES)
    ending = read_ending(log)
    kind = kinds.of(job)
    result = None if ending.result is None else kind.result(job, ending.result)
    if container.exit_code == 0 and result is not None:
        return _advance(runtime, job, result)
    if kinds.of(job).steps(job)[1:]:
        lease.note(job, result={**job.result, "log": plain_lines(log)})
    if ending.message:
        return _fail_step(runtime, job, ending.message, ending.advice, keeps=ending.keeps or _keeps(job, ending.code))
    if container.oom_killed:
        keeps = _keeps(job, "out_of_memory")
        return _fail_step(
            runtime, job, "It was OOM-killed: it exceeded its memory limit.", kind.memory_advice, keeps=keeps
        )
    if container.exit_code == errno.ENOSPC:  # its words found no room either
        return _fail_step(runtime, job, f"The disk of {job.host.name} is full.", DISK_ADVICE)
    if container.exit_code in ENDED_FROM_OUTSIDE:
        return _again(runtime, job, "The container was stopped externally.", ending.reached)
    return _fail_step(runtime, job, f"The container exited with code {container.exit_code}.", "Check the job's log.")


def _fail_step(runtime: Runtime, job: Job, message: str, advice: str, *, keeps: bool = False) -> Pause:
    """This step has no result: the end of the job, unless it can do without."""
    kind = kinds.of(job)
    instead = kind.instead(job, kind.steps(job)[job.phase], f"{message} {advice}")
    if instead is not None:
        return _advance(runtime, job, instead)
    return leaving.fail(runtime, job, message, advice, keeps=keeps)


def _keeps(job: Job, code: str) -> bool:
    """Whether finished steps are worth going on with after a failure of this code; before the first there are none."""
    return bool(job.phase) and kinds.of(job).keeps(code)


def _advance(runtime: Runtime, job: Job, result: dict[str, Any]) -> Pause:
    """A step has ended well: on to the next, or the job is done."""
    if job.state == JobState.QUEUED:  # it was quicker than our look
        jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
    whole = {**job.result, **result}
    if job.phase + 1 < len(kinds.of(job).steps(job)):
        # The next step has nothing to show yet, and the bar of this one is no longer true.
        lease.note(job, phase=job.phase + 1, result=whole, container_id="", missing_since=None, reached=0, stalls=0)
        jobs.record_progress(job.pk, kinds.of(job).steps(job)[job.phase], None, None, "")
        return GO_ON
    try:
        with transaction.atomic():
            moved = jobs.move(job, JobState.RUNNING, JobState.SUCCEEDED, result=whole)
            if moved:
                ends.of(job).finish(job, whole)
    except ServiceError as refusal:  # what it was for has gone meanwhile
        lease.refresh(job)
        return leaving.fail(runtime, job, refusal.what, refusal.advice)
    if moved:
        runtime.remove(job.container_name)
    return None


_DO: dict[type, Callable[[Runtime, Job, Any], Pause]] = {
    decide.Remove: _remove,
    decide.Cancel: _cancel,
    decide.LetGo: _let_go,
    decide.Forget: _forget,
    decide.Create: _create,
    decide.Start: _start,
    decide.Run: _run,
    decide.SayPaused: _say_paused,
    decide.MarkMissing: _mark_missing,
    decide.Again: _start_over,
    decide.ReadEnd: _read_end,
}
