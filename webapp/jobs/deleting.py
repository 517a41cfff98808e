"""Take model files off hosts: what it frees, who uses them, and the job, as one verb."""

from dataclasses import dataclass, field, replace
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from webapp.accounts.models import Role, Team, User
from webapp.accounts.ownership import require_owner
from webapp.accounts.services import audit, require
from webapp.catalog import services as catalog
from webapp.catalog import uses
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.catalog.uses import Use, Uses
from webapp.foundation.errors import Conflict
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.models import Job, JobKind
from webapp.jobs.states import ENDED


@dataclass(frozen=True)
class Loss:
    """What a deletion would take away. While it has users it is refused; schedules only lose their source."""

    freed_bytes: int
    users: Uses
    schedules: Uses = field(default_factory=Uses)


def loss_of_copy(copy: ArtifactCopy) -> Loss:
    """A copy is used by what runs on its host or is pinned to it, and by everything when it is the last one."""
    users = uses.on_host(copy.artifact_id, copy.host_id)
    others = ArtifactCopy.objects.filter(artifact=copy.artifact_id, state=CopyState.PRESENT).exclude(pk=copy.pk)
    if copy.state == CopyState.PRESENT and not others.exists():
        users += uses.anywhere(copy.artifact_id)
    users += [_making(job) for job in _jobs(copy.artifact_id).filter(host=copy.host_id)]
    return Loss(copy.artifact.size_bytes, Uses(tuple(users)))


def loss_of_artifact(artifact: Artifact) -> Loss:
    present = artifact.copies.filter(state=CopyState.PRESENT).count()
    users = [*uses.anywhere(artifact.pk), *(_making(job) for job in _jobs(artifact.pk))]
    return Loss(artifact.size_bytes * present, Uses(tuple(users)), Uses(tuple(uses.as_source(artifact.pk))))


def _making(job: Job) -> Use:
    """A job that makes something out of the files at this moment."""
    return Use(str(job), job.team_id or 0, "is working on it")


def delete_copy(user: User | None, team: Team, copy: ArtifactCopy) -> Job:
    """Have the files removed from the copy's host. Raises NotAllowed, Conflict when something uses them.

    `team` is shown the job where the artifact is the installation's own; else its owner is.
    """
    team = _acting(user, team, copy.artifact)
    with transaction.atomic():
        _hold(copy.artifact)
        _refuse_use(copy.artifact, loss_of_copy(copy), f"The copy of {copy.artifact} on {copy.host.name}")
        catalog.begin_deletion(copy)
        return _queue(user, team, copy.artifact, copy.host)


def delete_artifact(user: User | None, team: Team, artifact: Artifact) -> list[Job]:
    """Have the files removed from every host; the catalogue forgets the artifact when the last copy is gone.

    `team` as for `delete_copy`.
    """
    team = _acting(user, team, artifact)
    with transaction.atomic():
        _hold(artifact)
        _refuse_use(artifact, loss_of_artifact(artifact), str(artifact))
        audit(user, team, "artifact.delete", str(artifact), {"size_bytes": artifact.size_bytes})
        copies = list(artifact.copies.select_related("host"))
        Artifact.objects.filter(pk=artifact.pk).update(is_leaving=True)
        if not copies:
            catalog.forget_left(artifact.pk)
            return []
        for copy in copies:
            if copy.state != CopyState.DELETING:
                catalog.begin_deletion(copy)
        return [_queue(user, team, artifact, copy.host) for copy in copies]


def _acting(user: User | None, team: Team, artifact: Artifact) -> Team:
    """The team in whose name it goes; only the owner's people take it away."""
    require_owner(user, artifact)
    require(user, artifact.team or team, Role.OPERATOR)
    return artifact.team or team


def begin_again(job: Job) -> None:
    if job.artifact is None:
        raise Conflict("The artifact is gone already.")
    if job.artifact.team_id not in (None, job.team_id):
        raise Conflict(f"{job.artifact} belongs to another team now.")
    for copy in ArtifactCopy.objects.filter(artifact=job.artifact, host=job.host).exclude(state=CopyState.DELETING):
        _hold(copy.artifact)
        _refuse_use(job.artifact, loss_of_copy(copy), f"The copy of {job.artifact} on {job.host.name}")
        catalog.begin_deletion(copy)


def finish(job: Job, result: dict[str, Any]) -> None:
    if job.artifact is not None:
        catalog.forget_copy(job.artifact, job.host)


def fail(job: Job) -> None:
    if job.artifact is not None:
        catalog.keep_copy(job.artifact, job.host)


def give_up(job: Job) -> None:
    """What lay there is lost with its host."""
    if job.artifact is not None:
        catalog.forget_copy(job.artifact, job.host)


def _queue(user: User | None, team: Team, artifact: Artifact, host: Host) -> Job:
    return jobs.queue_job(user, team, JobKind.DELETE_COPY, artifact, host, {"size_bytes": artifact.size_bytes})


def _jobs(artifact_id: int) -> QuerySet[Job]:
    """What makes something out of it at this moment."""
    ended = [state.value for state in ENDED]
    return Job.objects.filter(kind=JobKind.QUANTISE, artifact=artifact_id).exclude(state__in=ended)


def _refuse_use(artifact: Artifact, loss: Loss, what: str) -> None:
    if not loss.users.all:
        return
    told = named(loss.users, artifact)
    words = [f"{use.name} {use.why}" for use in told[:5]]
    if len(told) > 5:
        words.append(f"{len(told) - 5} more use it")
    raise Conflict(f"{what} is used: {'; '.join(words)}.", advice(loss.users, artifact))


def named(users: Uses, artifact: Artifact) -> list[Use]:
    """Each once, those of other teams with their team: who runs a team's files lets its people know what for."""
    names = _others(users, artifact)
    first = {(use.team, use.name): use for use in reversed(users.all)}
    return [
        replace(use, name=f"{use.name} of team {names[use.team]}") if use.team in names else use
        for use in reversed(first.values())
    ]


def advice(users: Uses, artifact: Artifact) -> str:
    """What to do about those that use it: one's own, and those of others that only their teams change."""
    others = _others(users, artifact)
    if not others:
        return "Delete or move those deployments first."
    whose = "team " + ", ".join(sorted(others.values()))
    if artifact.team_id is None:
        return f"It is everybody's: ask {whose} to move or delete theirs."
    if all(use.rests for use in users.all if use.team in others):
        return f"Stop sharing it with {whose}: what is stopped there cannot be started any more and holds no files."
    return (
        f"Only {whose} can stop, move or delete what runs. What is stopped holds no files once they are not shared "
        "with its team."
    )


def _others(users: Uses, artifact: Artifact) -> dict[int, str]:
    """The names of the other teams, by id."""
    ids = {use.team for use in users.all} - {artifact.team_id}
    return dict(Team.objects.filter(pk__in=ids).values_list("pk", "name"))


def _hold(artifact: Artifact) -> None:
    """No deployment begins to use it until the transaction ends."""
    Artifact.objects.select_for_update().filter(pk=artifact.pk).first()
