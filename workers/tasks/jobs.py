"""Reconcile one job: create its container once, look how it does, bring the result or the reason home."""

import errno
import json
import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp.deployments.decide import ABSENT_S, ALIVE
from webapp.foundation import work_queue
from webapp.foundation.errors import Refused
from webapp.inventory import services as inventory
from webapp.jobs import kinds
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from workers.hosts import connection
from workers.runtime import specs
from workers.runtime.base import (
    LABEL_ID,
    LABEL_INSTALLATION,
    LABEL_KIND,
    MODELS_VOLUME,
    ContainerFacts,
    ContainerMissing,
    HostUnreachable,
    ImageMissing,
    NameTaken,
    Runtime,
    StartRefused,
)
from workers.tasks import job_kinds, looks
from workers.tasks.beginning import CannotBegin
from workers.tasks.pauses import GO_ON, Pause

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 4.0
# A container that is ended from outside is started again, since what it had done stays on disk; so many in a row that
# come no further than the ones before are enough.
MAX_STALLS = 3
# Killed, terminated, lost with its engine, and the programs' own "try again".
ENDED_FROM_OUTSIDE = (137, 143, 255, 75)
CLEAN_UP_S = 8.0
# Enough to hold a program's own line among what its tool says.
LOG_LINES = 400
MOST_LOG = 8000
KEPT_S = 24 * 3600
# A disk so full that Docker makes no container has no room for the one that takes files away either: it is tried again.
CLEAN_AGAIN_S = 60
DISK_ADVICE = "Remove models that nobody uses on this host, or give Docker's data folder more room. Then try again."
WAIT_FOR_MEMORY_S = 15.0
BUDGET_S = 12.0


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job's container said with its last lines. `keeps`: what it has done so far is worth going on with."""

    result: dict[str, Any] | None = None
    message: str = ""
    advice: str = ""
    code: str = ""
    keeps: bool = False
    reached: int = 0


def reconcile(job_id: int) -> None:
    """Bring the job as far as quick steps can."""
    job = jobs.claim(job_id)
    if job is None:
        return
    due_in_s: Pause = 15.0  # whatever breaks below, the sweep comes back
    try:
        job, due_in_s = _walk(job)
    finally:
        asked_again = jobs.release(job, due_in_s)
        if asked_again or due_in_s == 0:
            work_queue.send(jobs.RECONCILE, job_id)


def _walk(job: Job) -> tuple[Job, Pause]:
    deadline = time.monotonic() + BUDGET_S
    while time.monotonic() < deadline:
        # Who calls, or sets a date, after this look knows something that this decision does not.
        wakes, due_at = job.wakes, job.next_due_at
        try:
            pause = _step(job)
        except HostUnreachable as fault:
            looks.record_silence(job.host, fault)
            pause = LOOK_AGAIN_S
        except CannotBegin as fault:
            pause = _give_up(job, fault.refusal.what, fault.refusal.advice)
        fresh = jobs.reread(job)
        if pause != GO_ON or fresh is None:
            job.wakes, job.next_due_at = wakes, due_at
            return job, None if pause == GO_ON else pause
        job = fresh
    return job, 0


def _step(job: Job) -> Pause:
    """One step; seconds until the next look, None when the job has ended, GO_ON to look again now."""
    state = JobState(job.state)
    if state in (JobState.FAILED, JobState.CANCELLED) and (job.result.get("work_kept") or job.result.get("work_left")):
        return _let_go(job)
    if state not in (JobState.QUEUED, JobState.RUNNING):
        return None
    runtime = connection.runtime(job.host)
    mine, others = _containers(runtime, job)
    for container in others:
        runtime.remove(container.id)
    if job.is_cancel_wanted:
        return _cancel(runtime, job, mine)
    if mine is None:
        return _absent(runtime, job) if job.container_id else _create(runtime, job)
    if mine.status == "created":
        return _start(runtime, job, mine)
    if mine.status in ALIVE:
        return _running(job, mine)
    return LOOK_AGAIN_S if mine.status == "removing" else _ended(runtime, job, mine)


def _containers(runtime: Runtime, job: Job) -> tuple[ContainerFacts | None, list[ContainerFacts]]:
    """This attempt's container, and those of earlier attempts."""
    labels = {LABEL_INSTALLATION: str(inventory.installation().pk), LABEL_KIND: "job", LABEL_ID: str(job.pk)}
    found = looks.containers(runtime, job.host, labels, job.container_id)
    mine = next((container for container in found if container.name == job.container_name), None)
    return mine, [container for container in found if container is not mine]


def _create(runtime: Runtime, job: Job) -> Pause:
    kind = job_kinds.of(job)
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
            return _fail(
                runtime, job, f"A container that is not ours has the name {spec.name}.", "Remove that container."
            )
        container_id = there.id
    except ImageMissing:
        return _fail_step(runtime, job, f"The image {spec.image} is not on {job.host.name}.", kind.image_advice)
    except StartRefused as fault:
        return _refused(runtime, job, "make", fault)
    jobs.note(job, container_id=container_id, missing_since=None)
    return GO_ON


def _start(runtime: Runtime, job: Job, mine: ContainerFacts) -> Pause:
    kind = job_kinds.of(job)
    secrets = kind.secrets(job, kind.steps(job)[job.phase])
    try:
        runtime.start(mine.id, None if secrets is None else json.dumps(secrets))
    except ContainerMissing:
        return GO_ON
    except StartRefused as fault:
        return _refused(runtime, job, "start", fault)
    return GO_ON


def _refused(runtime: Runtime, job: Job, verb: str, fault: StartRefused) -> Pause:
    """Full disks stay full; for anything else one refusal may be a daemon that was ending."""
    if "no space left on device" in str(fault).lower():
        return _fail(runtime, job, f"The disk of {job.host.name} is full.", DISK_ADVICE)
    pause = _again(runtime, job, f"Docker did not {verb} the container: {fault}.", advice="Look at the host's Docker.")
    return LOOK_AGAIN_S if pause == GO_ON else pause


def _has_memory(job: Job, wanted_bytes: int) -> bool:
    """Book what the job needs; while the host has it not, the job says so and waits."""
    if not wanted_bytes:
        return True
    try:
        inventory.book(job.holder, job.host_id, wanted_bytes)
    except inventory.NotEnoughMemory:
        jobs.record_progress(job.pk, "waiting", None, None, "", message=f"for memory on {job.host.name}")
        return False
    return True


def _running(job: Job, mine: ContainerFacts) -> Pause:
    if job.container_id != mine.id:
        jobs.note(job, container_id=mine.id, missing_since=None)
    if job.state == JobState.QUEUED:
        jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=job.started_at or timezone.now())
    return LOOK_AGAIN_S


def _absent(runtime: Runtime, job: Job) -> Pause:
    """Our container is not there: certain after two sightings; then it is started once more."""
    now = timezone.now()
    if job.missing_since is None:
        jobs.note(job, missing_since=now)
        return float(ABSENT_S)
    left_s = ABSENT_S - (now - job.missing_since).total_seconds()
    return left_s if left_s > 0 else _again(runtime, job, "Its container was removed.")


def _again(
    runtime: Runtime, job: Job, why: str, reached: int = 0, advice: str = "Look at what ends containers there."
) -> Pause:
    """The next attempt goes on where this one was cut off, unless several in a row came no further."""
    stalls = 1 if reached > job.reached else job.stalls + 1
    if stalls >= MAX_STALLS:
        return _fail_step(runtime, job, f"{why} It was tried {stalls} times.", advice)
    logger.info("%s: %s Trying again.", job, why)
    jobs.note(
        job,
        attempt=job.attempt + 1,
        container_id="",
        missing_since=None,
        stalls=stalls,
        reached=max(reached, job.reached),
    )
    return GO_ON


def _ended(runtime: Runtime, job: Job, mine: ContainerFacts) -> Pause:
    try:
        container = runtime.inspect(mine.id)
    except ContainerMissing:
        return GO_ON
    log = runtime.log_tail(mine.id, LOG_LINES)
    ending = read_ending(log)
    kind = job_kinds.of(job)
    result = None if ending.result is None else kind.result(job, ending.result)
    if container.exit_code == 0 and result is not None:
        return _advance(runtime, job, result)
    if job_kinds.of(job).steps(job)[1:]:
        jobs.note(job, result={**job.result, "log": plain_lines(log)})
    if ending.message:
        return _fail_step(runtime, job, ending.message, ending.advice, keeps=ending.keeps or _keeps(job, ending.code))
    if container.oom_killed:
        keeps = _keeps(job, "out_of_memory")
        return _fail_step(runtime, job, "It used more memory than it was given.", kind.memory_advice, keeps=keeps)
    if container.exit_code == errno.ENOSPC:  # its words found no room either
        return _fail_step(runtime, job, f"The disk of {job.host.name} is full.", DISK_ADVICE)
    if container.exit_code in ENDED_FROM_OUTSIDE:
        return _again(runtime, job, "It was ended from outside.", ending.reached)
    return _fail_step(runtime, job, f"It ended with exit code {container.exit_code}.", "Look at the job's log.")


def _fail_step(runtime: Runtime, job: Job, message: str, advice: str, *, keeps: bool = False) -> Pause:
    """This step has no result: the end of the job, unless it can do without."""
    kind = job_kinds.of(job)
    instead = kind.instead(job, kind.steps(job)[job.phase], f"{message} {advice}")
    if instead is not None:
        return _advance(runtime, job, instead)
    return _fail(runtime, job, message, advice, keeps=keeps)


def read_ending(log: str) -> Ending:
    """The last result or error among lines of JSON; lines that are no JSON are passed over."""
    reached = 0
    for line in reversed(log.splitlines()):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(said, dict):
            continue
        error = said.get("error")
        if isinstance(error, dict):
            words = str(error.get("message", "It failed.")), str(error.get("advice", ""))
            return Ending(None, *words, str(error.get("code", "")), keeps=error.get("keeps") is True)
        if said.get("step") == "done":
            return Ending(said)
        if said.get("step") != "verify" and isinstance(said.get("done"), int):
            reached = max(reached, said["done"])
    return Ending(reached=reached)


def _keeps(job: Job, code: str) -> bool:
    """Whether finished steps are worth going on with after a failure of this code; before the first there are none."""
    return bool(job.phase) and job_kinds.of(job).keeps(code)


def plain_lines(log: str) -> str:
    """What a tool said in its own words: the newest lines that are no JSON."""
    lines = [line for line in log.splitlines() if not line.startswith("{")]
    return "\n".join(lines)[-MOST_LOG:]


def _advance(runtime: Runtime, job: Job, result: dict[str, Any]) -> Pause:
    """A step has ended well: on to the next, or the job is done."""
    if job.state == JobState.QUEUED:  # it was quicker than our look
        jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
    whole = {**job.result, **result}
    if job.phase + 1 < len(job_kinds.of(job).steps(job)):
        # The next step has nothing to show yet, and the bar of this one is no longer true.
        jobs.note(job, phase=job.phase + 1, result=whole, container_id="", missing_since=None, reached=0, stalls=0)
        jobs.record_progress(job.pk, job_kinds.of(job).steps(job)[job.phase], None, None, "")
        return GO_ON
    try:
        with transaction.atomic():
            moved = jobs.move(job, JobState.RUNNING, JobState.SUCCEEDED, result=whole)
            if moved:
                kinds.of(job).finish(job, whole)
    except Refused as refusal:  # what it was for has gone meanwhile
        job.refresh_from_db()
        return _fail(runtime, job, refusal.what, refusal.advice)
    if moved:
        runtime.remove(job.container_name)
    return None


def _fail(runtime: Runtime, job: Job, message: str, advice: str, *, keeps: bool = False) -> Pause:
    is_clean = keeps or _clean_up(runtime, job)
    name = job.container_name
    more: dict[str, Any] = {}
    if job.phase or not is_clean:
        # Finished steps wait a day for another try; then the space is given back.
        later_s = KEPT_S if keeps else CLEAN_AGAIN_S
        more = {"result": {**job.result, "work_kept": keeps, "work_left": not is_clean}}
        if keeps or not is_clean:
            more["next_due_at"] = timezone.now() + timedelta(seconds=later_s)
    if _end_badly(job, JobState.FAILED, message, advice=advice[:500], **more):
        runtime.remove(name)
    return None


def _let_go(job: Job) -> Pause:
    """An ended job whose files are still there: those of finished steps that nobody went on with, and what could not be
    taken away at once."""
    ended = job.ended_at or timezone.now()
    left_s = KEPT_S - (timezone.now() - ended).total_seconds()
    if job.result.get("work_kept") and left_s > 0:
        return left_s
    runtime = connection.runtime(job.host)
    if not _clean_up(runtime, job) and left_s > 0:
        return CLEAN_AGAIN_S
    jobs.note(job, result={**job.result, "work_kept": False, "work_left": False})
    return None


def _give_up(job: Job, message: str, advice: str) -> Pause:
    """The next container cannot be made. Before the first one nothing was begun, so nothing is to be taken away."""
    if job.phase:
        return _fail(connection.runtime(job.host), job, message, advice)
    _end_badly(job, JobState.FAILED, message, advice=advice[:500])
    return None


def _end_badly(job: Job, state: JobState, message: str, **columns: Any) -> bool:
    with transaction.atomic():
        moved = jobs.move(job, JobState(job.state), state, message, **columns)
        if moved:
            kinds.of(job).fail(job)
    return moved


def _cancel(runtime: Runtime, job: Job, mine: ContainerFacts | None) -> Pause:
    if mine is not None:
        runtime.remove(mine.id)
        jobs.note(job, container_id="")
    more: dict[str, Any] = {"result": {}}
    if not _clean_up(runtime, job):
        more = {"result": {"work_left": True}, "next_due_at": timezone.now() + timedelta(seconds=CLEAN_AGAIN_S)}
    _end_badly(job, JobState.CANCELLED, "cancelled", phase=0, reached=0, **more)
    return None


def _clean_up(runtime: Runtime, job: Job) -> bool:
    """Take away what was done in part; whether that is done. Finished files have their final names and stay."""
    who = specs.labels(str(inventory.installation().pk), "probe", job.pk, 1, job.attempt)
    try:
        spec = job_kinds.of(job).clean_up(job, who)
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
