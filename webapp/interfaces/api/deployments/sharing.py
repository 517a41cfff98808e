"""REST endpoints of who else may use a deployment, and of presets of options."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts.models import Team
from webapp.deployments import presets, sharing
from webapp.deployments.models import DeploymentGrant, OptionPreset
from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.deployments.history import get_own
from webapp.interfaces.api.deployments.schemas import GrantIn, GrantOut, PresetIn, PresetOut
from webapp.interfaces.api.pagination import Pages

router = Router(tags=["deployments"])


@router.get(
    "/deployments/{deployment_id}/grants", response=list[GrantOut], summary="List teams with access to a deployment"
)
@paginate(Pages)
def list_grants(request: HttpRequest, deployment_id: int):  # type: ignore[no-untyped-def]
    return get_own(request, deployment_id).grants.select_related("team")


@router.post(
    "/deployments/{deployment_id}/grants", response={201: GrantOut}, summary="Grant another team access to a deployment"
)
def create_grant(request: HttpRequest, deployment_id: int, data: GrantIn) -> Status[DeploymentGrant]:
    return Status(201, sharing.grant(caller(request), get_own(request, deployment_id), data.team))


@router.delete(
    "/deployments/{deployment_id}/grants/{slug}",
    response={204: None},
    summary="Revoke another team's access to a deployment",
)
def delete_grant(request: HttpRequest, deployment_id: int, slug: str) -> Status[None]:
    deployment = get_own(request, deployment_id)
    team = get_object_or_404(Team.objects.filter(granted_deployments__deployment=deployment), slug=slug)
    sharing.withdraw(caller(request), deployment, team)
    return Status(204, None)


@router.get("/presets", response=list[PresetOut], summary="List presets")
def list_presets(request: HttpRequest, engine: str | None = None) -> list[presets.Preset]:
    return presets.available(caller(request), engine)


@router.post("/presets", response={201: PresetOut}, summary="Save options as a preset of my team")
def create_preset(request: HttpRequest, data: PresetIn) -> Status[presets.Preset]:
    team = team_of(caller(request), data.team)
    return Status(201, presets.shown(presets.save(caller(request), team, data.engine, data.name, data.options)))


@router.delete("/presets/{preset_id}", response={204: None}, summary="Delete a preset of my team")
def delete_preset(request: HttpRequest, preset_id: int) -> Status[None]:
    presets.delete(caller(request), get_object_or_404(OptionPreset.objects.visible_to(caller(request)), pk=preset_id))
    return Status(204, None)
