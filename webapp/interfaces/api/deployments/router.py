"""REST endpoints of deployments. Requests for a change are answered with 202: the workers make them true."""

from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact
from webapp.deployments import checking, fit, searching, services
from webapp.deployments.models import Deployment, DeploymentAlias
from webapp.deployments.spec import FIELDS, DeploymentPatch, DeploymentSpec, RevisionSpec
from webapp.foundation.errors import Conflict, Invalid
from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.deployments.history import router as history
from webapp.interfaces.api.deployments.schemas import (
    DeploymentIn,
    DeploymentOut,
    EditIn,
    EngineOut,
    EstimateIn,
    EstimateOut,
    PlanOut,
    RestartIn,
    RollBackIn,
    ScaleIn,
)
from webapp.interfaces.api.deployments.sharing import router as sharing
from webapp.interfaces.api.pagination import Pages
from webapp.interfaces.kit.dry_run import simulate
from webapp.interfaces.kit.references import resolve_references
from webapp.inventory.models import Host

router = Router(tags=["deployments"])
router.add_router("", history)
router.add_router("", sharing)


@router.get("/engines", response=list[EngineOut], summary="List engines and their options")
def list_engines(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {
            "name": engine.name,
            "title": engine.title,
            "formats": sorted(engine.formats),
            "endpoints": list(engine.endpoints),
            "options": engine.Options.model_json_schema(),
        }
        for engine in engines.all()
    ]


@router.post("/estimates", response=EstimateOut, summary="Estimate memory and placement")
def estimate_memory(request: HttpRequest, data: EstimateIn) -> fit.Fit:
    artifact = resolve_references(artifact=(Artifact.objects.visible_to(caller(request)), data.artifact))["artifact"]
    spec = checking.checked(RevisionSpec(artifact=artifact, engine=data.engine, options=data.options))
    found = fit.answer(spec, team_of(caller(request), None))
    if found.problem:
        raise Invalid(found.problem)
    return found


@router.get("/deployments", response=list[DeploymentOut], summary="List deployments")
@paginate(Pages)
def list_deployments(  # type: ignore[no-untyped-def]
    request: HttpRequest,
    name: str | None = None,
    team: str | None = None,
    state: str | None = None,
    engine: str | None = None,
    host: str | None = None,
):
    rows = Deployment.objects.visible_to(caller(request)).for_list()
    if name:
        rows = rows.filter(Q(name=name) | Q(pk__in=DeploymentAlias.objects.filter(name=name).values("deployment_id")))
    return searching.narrow(rows, {"team": team, "state": state, "engine": engine, "host": host})


@router.post(
    "/deployments", response={200: PlanOut, 202: DeploymentOut}, summary="Create a deployment (dry_run: estimate only)"
)
def create_deployment(request: HttpRequest, data: DeploymentIn, dry_run: bool = False) -> Status[Any]:
    spec = DeploymentSpec(
        name=data.name, replicas=data.replicas, aliases=tuple(data.aliases), **_spec(request, data.dict()),
        max_tokens_default=data.max_tokens_default, max_tokens_limit=data.max_tokens_limit,
    )  # fmt: skip
    team = team_of(caller(request), data.team)
    if dry_run:
        checked = services.check(caller(request), team, spec)
        simulate(lambda: services.create(caller(request), team, spec))
        return Status(200, _plan_out(services.Plan(checked, [], False, False, None, ""), team))
    deployment = services.create(caller(request), team, spec)
    return Status(202, get_deployment(request, deployment.pk))


def _spec(request: HttpRequest, said: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec as far as they were said, with rows for the ids of the artifact and the host."""
    user = caller(request)
    rows: dict[str, Any] = {"artifact": Artifact.objects.visible_to(user), "host": Host.objects.visible_to(user)}
    found = resolve_references(**{name: (rows[name], said[name]) for name in rows if name in said})
    return {name: said[name] for name in FIELDS if name in said} | found


def _plan_out(planned: services.Plan, team: Team) -> dict[str, Any]:
    found = fit.answer(planned.spec, team)
    return {
        "changes": planned.changes,
        "limits": list(planned.limits),
        "rolls": planned.rolls,
        "needs_downtime": planned.needs_downtime,
        "downtime_s": planned.downtime_s,
        "refusal": planned.refusal,
        "refused": "",
        "fit": None if found.problem else found,
    }


@router.get("/deployments/{deployment_id}", response=DeploymentOut, summary="Get a deployment")
def get_deployment(request: HttpRequest, deployment_id: int) -> Deployment:
    return get_object_or_404(Deployment.objects.visible_to(caller(request)).for_list(), pk=deployment_id)


@router.patch(
    "/deployments/{deployment_id}",
    response={200: PlanOut, 202: DeploymentOut},
    summary="Update a deployment with a rolling update",
)
def edit_deployment(request: HttpRequest, deployment_id: int, data: EditIn, dry_run: bool = False) -> Status[Any]:
    deployment = get_deployment(request, deployment_id)
    wanted = _edit(request, data)
    if dry_run:
        planned = _plan_out(services.check_edit(caller(request), deployment, wanted), deployment.team)
        return Status(200, planned | {"refused": _refused(request, deployment, wanted)})
    services.edit(caller(request), deployment, wanted)
    return Status(202, get_deployment(request, deployment_id))


def _refused(request: HttpRequest, deployment: Deployment, wanted: DeploymentPatch) -> str:
    """The conflict that the edit would meet now. Raises Invalid for what can never be."""
    try:
        simulate(lambda: services.edit(caller(request), deployment, wanted))
    except Conflict as conflict:
        return str(conflict)
    return ""


def _edit(request: HttpRequest, data: EditIn) -> DeploymentPatch:
    given = _spec(request, data.dict(exclude_unset=True))
    # Without a host it runs wherever it fits; null for anything else leaves it as it is.
    spec = {name: value for name, value in given.items() if value is not None or name == "host"}
    aliases = None if data.aliases is None else tuple(data.aliases)
    return DeploymentPatch(
        spec, data.replicas, aliases, data.note, data.allow_downtime, data.base_revision,
        max_tokens_default=data.max_tokens_default, max_tokens_limit=data.max_tokens_limit,
    )  # fmt: skip


@router.post(
    "/deployments/{deployment_id}/scale", response={202: DeploymentOut}, summary="Scale a deployment to N replicas"
)
def scale_deployment(request: HttpRequest, deployment_id: int, data: ScaleIn) -> Status[Deployment]:
    services.scale(caller(request), get_deployment(request, deployment_id), data.replicas)
    return Status(202, get_deployment(request, deployment_id))


@router.post(
    "/deployments/{deployment_id}/restart", response={202: DeploymentOut}, summary="Restart all replicas, one by one"
)
def restart_deployment(
    request: HttpRequest, deployment_id: int, data: RestartIn | None = None
) -> Status[Deployment]:  # fmt: skip
    services.restart(caller(request), get_deployment(request, deployment_id), bool(data and data.allow_downtime))
    return Status(202, get_deployment(request, deployment_id))


@router.post(
    "/deployments/{deployment_id}/rollback", response={202: DeploymentOut}, summary="Roll back to an earlier revision"
)
def roll_back_deployment(request: HttpRequest, deployment_id: int, data: RollBackIn) -> Status[Deployment]:
    services.roll_back(caller(request), get_deployment(request, deployment_id), data.revision, data.allow_downtime)
    return Status(202, get_deployment(request, deployment_id))


@router.post(
    "/deployments/{deployment_id}/start", response={202: DeploymentOut}, summary="Start a deployment, or retry now"
)
def start_deployment(request: HttpRequest, deployment_id: int) -> Status[Deployment]:
    services.start(caller(request), get_deployment(request, deployment_id))
    return Status(202, get_deployment(request, deployment_id))


@router.post(
    "/deployments/{deployment_id}/stop",
    response={202: DeploymentOut},
    summary="Stop a deployment; in-flight requests finish",
)
def stop_deployment(request: HttpRequest, deployment_id: int) -> Status[Deployment]:
    services.stop(caller(request), get_deployment(request, deployment_id))
    return Status(202, get_deployment(request, deployment_id))


@router.delete(
    "/deployments/{deployment_id}",
    response={200: DeploymentOut, 202: DeploymentOut},
    summary="Delete a deployment (dry_run: check only)",
)
def delete_deployment(request: HttpRequest, deployment_id: int, dry_run: bool = False) -> Status[Deployment]:
    deployment = get_deployment(request, deployment_id)
    if dry_run:
        simulate(lambda: services.delete(caller(request), deployment))
        return Status(200, get_deployment(request, deployment_id))
    services.delete(caller(request), deployment)
    return Status(202, get_deployment(request, deployment_id))
