"""Reconcile one job: create its container once, look how it does, bring the result or the reason home."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp import queue
from webapp.deployments.decide import ABSENT_S, ALIVE
from webapp.inventory import services as inventory
from webapp.jobs import fetching
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from workers.runtime import docker as docker_runtime
from workers.runtime import specs
from workers.runtime.base import (
    LABEL_ID,
    LABEL_INSTALLATION,
    LABEL_KIND,
    MODELS_PATH,
    MODELS_VOLUME,
    ContainerFacts,
    ContainerMissing,
    HostUnreachable,
    ImageMissing,
    NameTaken,
    Runtime,
    StartRefused,
)
from workers.tasks import looks
from workers.tasks.pauses import GO_ON, Pause

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 4.0
# A container that was killed from outside is started again this often: what it had done stays on disk.
MAX_ATTEMPTS = 3
CLEAN_UP_S = 8.0
BUDGET_S = 12.0


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job's container said with its last lines."""

    files: list[dict[str, Any]] | None = None
    message: str = ""
    advice: str = ""


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
            queue.send(jobs.RECONCILE, job_id)


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
        fresh = jobs.reread(job)
        if pause != GO_ON or fresh is None:
            job.wakes, job.next_due_at = wakes, due_at
            return job, None if pause == GO_ON else pause
        job = fresh
    return job, 0


def _step(job: Job) -> Pause:
    """One step; seconds until the next look, None when the job has ended, GO_ON to look again now."""
    state = JobState(job.state)
    if state not in (JobState.QUEUED, JobState.RUNNING):
        return None
    runtime = docker_runtime.connect(job.host.endpoint)
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
    installation = str(inventory.installation().pk)
    runtime.ensure_volume(MODELS_VOLUME, {LABEL_INSTALLATION: installation})
    spec = specs.fetch_container(
        name=job.container_name,
        who=specs.labels(installation, "job", job.pk, 1, job.attempt),
        order=order(job),
        import_folder=str(PurePosixPath(job.params["source_path"]).parent),
    )
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
        return _fail(
            runtime,
            job,
            f"The image {spec.image} is not on {job.host.name}.",
            "Run `make run` there once: it builds it.",
        )
    except StartRefused as fault:
        return _fail(runtime, job, f"Docker did not make the container: {fault}", "Look at the host's Docker.")
    jobs.note(job, container_id=container_id, missing_since=None)
    return GO_ON


def order(job: Job) -> dict[str, Any]:
    """What the fetch program is told; see compose/tools/fetch.py."""
    path = PurePosixPath(job.params["source_path"])
    source = {"kind": "path", "path": f"/import/{path.name}", "member": job.params.get("member")}
    return {"source": source, "target_dir": f"{MODELS_PATH}/{job.artifact_id}", "files": job.params["files"]}


def _start(runtime: Runtime, job: Job, mine: ContainerFacts) -> Pause:
    try:
        runtime.start(mine.id)
    except ContainerMissing:
        return GO_ON
    except StartRefused as fault:
        return _fail(runtime, job, f"Docker did not start the container: {fault}", "Look at the host's Docker.")
    return GO_ON


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


def _again(runtime: Runtime, job: Job, why: str) -> Pause:
    """The next attempt goes on where this one was cut off, unless it was cut off too often."""
    if job.attempt >= MAX_ATTEMPTS:
        return _fail(runtime, job, f"{why} It was tried {job.attempt} times.", "Look at what ends containers there.")
    logger.info("%s: %s Trying again.", job, why)
    jobs.note(job, attempt=job.attempt + 1, container_id="", missing_since=None)
    return GO_ON


def _ended(runtime: Runtime, job: Job, mine: ContainerFacts) -> Pause:
    try:
        container = runtime.inspect(mine.id)
    except ContainerMissing:
        return GO_ON
    ending = read_ending(runtime.log_tail(mine.id, 50))
    if container.exit_code == 0 and ending.files is not None:
        return _succeed(runtime, job, ending.files)
    if ending.message:
        return _fail(runtime, job, ending.message, ending.advice)
    if container.oom_killed:
        return _fail(runtime, job, "It used more memory than it was given.", "Report this: it should need little.")
    if container.exit_code in (137, 143, 255):
        return _again(runtime, job, "It was ended from outside.")
    return _fail(runtime, job, f"It ended with exit code {container.exit_code}.", "Look at the job's log.")


def read_ending(log: str) -> Ending:
    """The last result or error among lines of JSON; lines that are no JSON are passed over."""
    for line in reversed(log.splitlines()):
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        error = said.get("error")
        if isinstance(error, dict):
            return Ending(message=str(error.get("message", "It failed.")), advice=str(error.get("advice", "")))
        if said.get("step") == "done" and isinstance(said.get("files"), list):
            return Ending(files=said["files"])
    return Ending()


def _succeed(runtime: Runtime, job: Job, files: list[dict[str, Any]]) -> Pause:
    if job.state == JobState.QUEUED:  # it was quicker than our look
        jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
    with transaction.atomic():
        moved = jobs.move(job, JobState.RUNNING, JobState.SUCCEEDED, result={"files": files})
        if moved:
            fetching.finish(job, files)
    if moved:
        runtime.remove(job.container_name)
    return None


def _fail(runtime: Runtime, job: Job, message: str, advice: str) -> Pause:
    _clean_up(runtime, job)
    with transaction.atomic():
        moved = jobs.move(job, JobState(job.state), JobState.FAILED, message, advice=advice[:500])
        if moved:
            fetching.fail(job)
    if moved:
        runtime.remove(job.container_name)
    return None


def _cancel(runtime: Runtime, job: Job, mine: ContainerFacts | None) -> Pause:
    if mine is not None:
        runtime.remove(mine.id)
        jobs.note(job, container_id="")
    _clean_up(runtime, job)
    with transaction.atomic():
        if jobs.move(job, JobState(job.state), JobState.CANCELLED, "cancelled"):
            fetching.fail(job)
    return None


def _clean_up(runtime: Runtime, job: Job) -> None:
    """Take away what was copied in part. Finished files have their final names and stay."""
    who = specs.labels(str(inventory.installation().pk), "probe", job.pk, 1, job.attempt)
    name = f"{job.container_name}-clean"
    try:
        runtime.remove(name)
        runtime.run(specs.clean_up_container(name, who, f"{MODELS_PATH}/{job.artifact_id}"), CLEAN_UP_S)
    except (ImageMissing, NameTaken, StartRefused) as fault:
        logger.warning("%s: partial files stay: %s", job, fault)
