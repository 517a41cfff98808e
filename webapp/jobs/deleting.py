"""Take model files off hosts: what it frees, who uses them, and the job, as one verb."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import QuerySet

from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.errors import Conflict
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.models import Job, JobKind
from webapp.jobs.states import ENDED


@dataclass(frozen=True)
class Loss:
    """What a deletion would take away. `users`: names of what still needs it; then it is refused."""

    freed_bytes: int
    users: tuple[str, ...]


def loss_of_copy(copy: ArtifactCopy) -> Loss:
    """A copy is used by replicas on its host, and by every deployment when it is the last one."""
    replicas = apps.get_model("deployments", "Replica").objects.filter(
        deployment__artifact=copy.artifact_id, host=copy.host_id
    )
    users = set(replicas.exclude(state="stopped").values_list("deployment__name", flat=True))
    others = ArtifactCopy.objects.filter(artifact=copy.artifact_id, state=CopyState.PRESENT).exclude(pk=copy.pk)
    if copy.state == CopyState.PRESENT and not others.exists():
        users |= set(_deployments(copy.artifact_id))
    users |= {str(job) for job in _jobs(copy.artifact_id).filter(host=copy.host_id)}
    return Loss(copy.artifact.size_bytes, tuple(sorted(users)))


def loss_of_artifact(artifact: Artifact) -> Loss:
    present = artifact.copies.filter(state=CopyState.PRESENT).count()
    users = [*_deployments(artifact.pk), *map(str, _jobs(artifact.pk))]
    return Loss(artifact.size_bytes * present, tuple(sorted(users)))


def delete_copy(user: User | None, team: Team, copy: ArtifactCopy) -> Job:
    """Have the files removed from the copy's host. Raises NotAllowed, Conflict when something uses them."""
    require(user, team, Role.OPERATOR)
    with transaction.atomic():
        _refuse_use(loss_of_copy(copy), f"The copy of {copy.artifact} on {copy.host.name}")
        catalog.begin_deletion(copy)
        return _queue(user, team, copy.artifact, copy.host)


def delete_artifact(user: User | None, team: Team, artifact: Artifact) -> list[Job]:
    """Have the files removed from every host; the catalogue forgets the artifact when the last copy is gone."""
    require(user, team, Role.OPERATOR)
    with transaction.atomic():
        _refuse_use(loss_of_artifact(artifact), str(artifact))
        audit(user, team, "artifact.delete", str(artifact), {"size_bytes": artifact.size_bytes})
        copies = list(artifact.copies.select_related("host"))
        if not copies:
            catalog.forget_artifact(artifact)
            return []
        Artifact.objects.filter(pk=artifact.pk).update(is_leaving=True)
        for copy in copies:
            if copy.state != CopyState.DELETING:
                catalog.begin_deletion(copy)
        return [_queue(user, team, artifact, copy.host) for copy in copies]


def begin_again(job: Job) -> None:
    if job.artifact is None:
        raise Conflict("The artifact is gone already.")
    for copy in ArtifactCopy.objects.filter(artifact=job.artifact, host=job.host).exclude(state=CopyState.DELETING):
        _refuse_use(loss_of_copy(copy), f"The copy of {job.artifact} on {job.host.name}")
        catalog.begin_deletion(copy)


def finish(job: Job, result: dict[str, Any]) -> None:
    if job.artifact is not None:
        catalog.forget_copy(job.artifact, job.host)


def fail(job: Job) -> None:
    if job.artifact is not None:
        catalog.keep_copy(job.artifact, job.host)


def _queue(user: User | None, team: Team, artifact: Artifact, host: Host) -> Job:
    return jobs.queue_job(user, team, JobKind.DELETE_COPY, artifact, host, {"size_bytes": artifact.size_bytes})


def _jobs(artifact_id: int) -> QuerySet[Job]:
    """What makes something out of it at this moment."""
    ended = [state.value for state in ENDED]
    return Job.objects.filter(kind=JobKind.QUANTISE, artifact=artifact_id).exclude(state__in=ended)


def _deployments(artifact_id: int) -> list[str]:
    deployments = apps.get_model("deployments", "Deployment").objects.filter(artifact=artifact_id)
    return list(deployments.values_list("name", flat=True))


def _refuse_use(loss: Loss, what: str) -> None:
    if loss.users:
        more = f" and {len(loss.users) - 5} more" if len(loss.users) > 5 else ""
        raise Conflict(
            f"{what} is used by {', '.join(loss.users[:5])}{more}.", "Delete or move those deployments first."
        )
