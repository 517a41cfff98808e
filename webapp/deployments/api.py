"""REST doors of deployments. Wishes are answered with 202: the workers make them true."""

from typing import Annotated, Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Router, Status
from ninja.pagination import paginate

from webapp import engines
from webapp.accounts.api import team_of
from webapp.accounts.callers import caller
from webapp.catalog.models import Artifact
from webapp.deployments import fitting, logs, services
from webapp.deployments.models import Deployment, ReplicaEvent
from webapp.deployments.schemas import (
    DeploymentIn,
    DeploymentOut,
    EngineOut,
    EstimateIn,
    EstimateOut,
    EventOut,
    LogOut,
)
from webapp.errors import Invalid
from webapp.inventory.models import Host
from webapp.pagination import Pages

router = Router(tags=["deployments"])


@router.get("/engines", response=list[EngineOut], summary="Engines and their options")
def list_engines(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {
            "name": engine.name,
            "title": engine.title,
            "formats": sorted(engine.formats),
            "endpoints": list(engine.endpoints),
            "options": engine.Options.model_json_schema(),
        }
        for engine in map(engines.get, engines.names())
    ]


@router.post("/estimates", response=EstimateOut, summary="How much memory it would take, and where it would fit")
def estimate_memory(request: HttpRequest, data: EstimateIn) -> fitting.Fit:
    artifact = get_object_or_404(Artifact, pk=data.artifact)
    if data.engine not in engines.names():
        raise Invalid(f"There is no engine {data.engine!r}.", f"Choose among {', '.join(engines.names())}.")
    found = fitting.fit(artifact, data.engine, data.options, team=team_of(caller(request), None))
    if found.problem:
        raise Invalid(found.problem)
    return found


@router.get("/deployments", response=list[DeploymentOut], summary="Deployments of my teams")
@paginate(Pages)
def list_deployments(request: HttpRequest, name: str | None = None, team: str | None = None):  # type: ignore[no-untyped-def]
    rows = Deployment.objects.visible_to(caller(request)).for_list()
    if name:
        rows = rows.filter(name=name)
    return rows.filter(team__slug=team) if team else rows


@router.post("/deployments", response={202: DeploymentOut}, summary="Deploy an artifact")
def create_deployment(request: HttpRequest, data: DeploymentIn) -> Status[Deployment]:
    wish = services.Wish(
        name=data.name,
        artifact=get_object_or_404(Artifact, pk=data.artifact),
        engine=data.engine,
        options=data.options,
        replicas=data.replicas,
        host=get_object_or_404(Host.objects.visible_to(caller(request)), pk=data.host) if data.host else None,
        image=data.image,
    )
    deployment = services.create(caller(request), team_of(caller(request), data.team), wish)
    return Status(202, get_deployment(request, deployment.pk))


@router.get("/deployments/{deployment_id}", response=DeploymentOut, summary="One deployment")
def get_deployment(request: HttpRequest, deployment_id: int) -> Deployment:
    return get_object_or_404(Deployment.objects.visible_to(caller(request)).for_list(), pk=deployment_id)


@router.post("/deployments/{deployment_id}/start", response={202: DeploymentOut}, summary="Start, or try again now")
def start_deployment(request: HttpRequest, deployment_id: int) -> Status[Deployment]:
    services.start(caller(request), get_deployment(request, deployment_id))
    return Status(202, get_deployment(request, deployment_id))


@router.post(
    "/deployments/{deployment_id}/stop", response={202: DeploymentOut}, summary="Stop; running requests finish"
)
def stop_deployment(request: HttpRequest, deployment_id: int) -> Status[Deployment]:
    services.stop(caller(request), get_deployment(request, deployment_id))
    return Status(202, get_deployment(request, deployment_id))


@router.delete("/deployments/{deployment_id}", response={202: DeploymentOut}, summary="Delete")
def delete_deployment(request: HttpRequest, deployment_id: int) -> Status[Deployment]:
    deployment = get_deployment(request, deployment_id)
    services.delete(caller(request), deployment)
    return Status(202, get_deployment(request, deployment_id))


@router.get("/deployments/{deployment_id}/events", response=list[EventOut], summary="The diary, newest first")
@paginate(Pages)
def list_events(request: HttpRequest, deployment_id: int):  # type: ignore[no-untyped-def]
    return ReplicaEvent.objects.filter(deployment=get_deployment(request, deployment_id))


@router.get("/deployments/{deployment_id}/replicas/{number}/log", response=LogOut, summary="A replica's log")
def read_log(
    request: HttpRequest,
    deployment_id: int,
    number: int,
    offset: Annotated[int, Field(ge=0)] = 0,
    attempt: Annotated[int | None, Field(ge=1)] = None,
) -> dict[str, Any]:
    deployment = get_deployment(request, deployment_id)
    replica = get_object_or_404(deployment.replicas, number=number)
    piece = logs.read(replica, offset, attempt)
    return {
        "text": piece.text,
        "next_offset": piece.place.offset,
        "attempt": piece.place.attempt,
        "has_more": piece.more,
    }
