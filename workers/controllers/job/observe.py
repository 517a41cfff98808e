"""A job as `decide` sees it: its row, and its containers on the host."""

from django.utils import timezone

from webapp.control.sightings import Container
from webapp.inventory import services as inventory
from webapp.jobs import decide
from webapp.jobs import services as jobs
from webapp.jobs.decide import Observed, Seen, View
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from workers.controllers import looks
from workers.runtime.base import LABEL_ID, LABEL_INSTALLATION, LABEL_KIND, ContainerFacts, HostUnreachable


def step(job: Job, observed: Observed) -> "decide.Step":
    """What comes next."""
    return decide.decide(view(job), observed, timezone.now())


def view(job: Job) -> View:
    """The row as `decide` sees it."""
    return View(
        state=JobState(job.state),
        is_cancel_wanted=job.is_cancel_wanted,
        container_id=job.container_id,
        missing_since=job.missing_since,
        says_paused=job.message.startswith(jobs.PAUSED),
        ended_at=job.ended_at,
        keeps_work=bool(job.result.get("work_kept")),
        has_leftovers=bool(job.result.get("work_left")),
        is_leaving=job.is_leaving,
    )


def look(job: Job) -> Observed:
    """This attempt's container and those of earlier ones; the host's silence is written down."""
    if not decide.needs_look(view(job)):
        return Observed()
    labels = {LABEL_INSTALLATION: str(inventory.installation().pk), LABEL_KIND: "job", LABEL_ID: str(job.pk)}
    try:
        found = looks.containers(looks.contact(job.host), job.host, labels, job.container_id)
    except HostUnreachable as fault:
        looks.record_silence(job.host, fault)
        return Observed(is_silent=True)
    mine = next((container for container in found if container.name == job.container_name), None)
    return Observed(
        _seen(mine) if mine else None,
        tuple(_seen(container) for container in found if container is not mine),
    )


def _seen(container: ContainerFacts) -> Seen:
    return Seen(container.id, Container(container.status))
