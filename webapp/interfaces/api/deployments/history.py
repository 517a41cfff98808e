"""REST endpoints of what a deployment ran and what happened to it: revisions, rollouts, events, starts, logs."""

from typing import Annotated, Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Router
from ninja.pagination import paginate

from webapp.deployments import logs, revisions, timeline
from webapp.deployments.models import Deployment, ReplicaEvent
from webapp.deployments.spec import Change, RevisionSpec, diff
from webapp.foundation.errors import Conflict
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.deployments.schemas import ChangeOut, EventOut, LogOut, RevisionOut, RolloutOut, StartOut
from webapp.interfaces.api.pagination import Pages

router = Router(tags=["deployments"])

Number = Annotated[int, Field(ge=0, le=2**63 - 1)]


def get_own(request: HttpRequest, deployment_id: int) -> Deployment:
    """A deployment of the caller's own teams: teams that may only use it see none of this."""
    rows = Deployment.objects.belonging_to(caller(request)).select_related("team", "artifact", "host", "revision")
    return get_object_or_404(rows, pk=deployment_id)


@router.get(
    "/deployments/{deployment_id}/revisions", response=list[RevisionOut], summary="List revisions, newest first"
)
@paginate(Pages)
def list_revisions(request: HttpRequest, deployment_id: int):  # type: ignore[no-untyped-def]
    return get_own(request, deployment_id).revisions.all()


@router.get(
    "/deployments/{deployment_id}/revisions/{number}/diff",
    response=list[ChangeOut],
    summary="Compare a revision with the current one, or with another",
)
def diff_revision(
    request: HttpRequest, deployment_id: int, number: Number, against: Number | None = None
) -> list[Change]:
    deployment = get_own(request, deployment_id)
    new = _spec(deployment, number)
    return diff(deployment.spec if against is None else _spec(deployment, against), new)


def _spec(deployment: Deployment, number: int) -> RevisionSpec:
    revision = get_object_or_404(deployment.revisions.select_related("artifact", "host"), number=number)
    found = revisions.of(revision)
    if found is None:
        raise Conflict(f"The files of {revision.artifact_name} have been deleted.")
    return found


@router.get("/deployments/{deployment_id}/rollouts", response=list[RolloutOut], summary="List rollouts, newest first")
@paginate(Pages)
def list_rollouts(request: HttpRequest, deployment_id: int):  # type: ignore[no-untyped-def]
    return get_own(request, deployment_id).rollouts.select_related("revision")


@router.get(
    "/deployments/{deployment_id}/events",
    response=list[EventOut],
    summary="List events, newest first; with `since` those after that one, oldest first",
)
@paginate(Pages)
def list_events(  # type: ignore[no-untyped-def]
    request: HttpRequest,
    deployment_id: int,
    since: Number | None = None,
    replica_ordinal: Number | None = None,
    revision: Number | None = None,
):
    rows = ReplicaEvent.objects.filter(deployment=get_own(request, deployment_id))
    if replica_ordinal is not None:
        rows = rows.filter(replica_ordinal=replica_ordinal)
    if revision is not None:
        rows = rows.filter(revision_number=revision)
    return rows if since is None else rows.filter(pk__gt=since).order_by("id")


@router.get("/deployments/{deployment_id}/starts", response=list[StartOut], summary="List startup timings")
def list_starts(request: HttpRequest, deployment_id: int) -> list[timeline.Start]:
    return timeline.recent_starts(get_own(request, deployment_id))


@router.get("/deployments/{deployment_id}/replicas/{number}/log", response=LogOut, summary="Get the log of a replica")
def read_log(
    request: HttpRequest,
    deployment_id: int,
    number: int,
    offset: Annotated[int, Field(ge=0)] = 0,
    attempt: Annotated[int | None, Field(ge=1)] = None,
) -> dict[str, Any]:
    replica = get_object_or_404(get_own(request, deployment_id).replicas, number=number)
    piece = logs.read(replica, offset, attempt)
    return {
        "text": piece.text,
        "next_offset": piece.place.offset,
        "attempt": piece.place.attempt,
        "has_more": piece.more,
    }
