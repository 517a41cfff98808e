"""REST endpoints of the catalogue: what there is, and which hubs may be asked. Fetching and deleting are jobs."""

from typing import Annotated, Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Router, Status
from ninja.pagination import paginate

from webapp.accounts.models import Team
from webapp.catalog import hubs, images, inspecting, known, services
from webapp.catalog.models import AllowedImage, Artifact, CatalogModel, Hub
from webapp.deployments import disk, fit
from webapp.deployments.fleet import Fleet
from webapp.foundation.errors import Invalid
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.catalog.schemas import (
    ApprovalIn,
    ArtifactOut,
    FoundRepoOut,
    HostDiskOut,
    HubChange,
    HubIn,
    HubOut,
    ImageIn,
    ImageOut,
    ModelOut,
    PopularModelOut,
    RepoOut,
)
from webapp.interfaces.api.ownership import add_ownership
from webapp.interfaces.api.pagination import Pages
from webapp.inventory.models import Host

# What a database holds as an id.
MOST = 2**63 - 1
router = Router(tags=["models"])
Format = Literal["gguf", "safetensors"]


@router.get("/models", response=list[ModelOut], summary="List models")
@paginate(Pages)
def list_models(request: HttpRequest):  # type: ignore[no-untyped-def]
    return CatalogModel.objects.for_list(caller(request))


@router.get("/artifacts", response=list[ArtifactOut], summary="List artifacts")
@paginate(Pages)
def list_artifacts(  # type: ignore[no-untyped-def]
    request: HttpRequest,
    format: Format | None = None,
    host: Annotated[int | None, Field(ge=1, le=MOST, description="only those with a copy there")] = None,
):
    found = Artifact.objects.for_list(caller(request))
    if format:
        found = found.filter(format=format)
    if host is None:
        return found
    return found.filter(copies__host__in=Host.objects.visible_to(caller(request)).filter(pk=host))


@router.get("/artifacts/{artifact_id}", response=ArtifactOut, summary="Get an artifact")
def get_artifact(request: HttpRequest, artifact_id: int) -> Artifact:
    return get_object_or_404(Artifact.objects.for_list(caller(request)), pk=artifact_id)


add_ownership(router, "/artifacts", lambda request: Artifact.objects.select_related("catalog_model"), "an artifact")


@router.get("/popular-models", response=list[PopularModelOut], summary="List popular models")
def list_known(request: HttpRequest, q: str = "") -> list[PopularModelOut]:
    return [PopularModelOut.of(model) for model in known.matching(q)]


@router.get("/disk", response=list[HostDiskOut], summary="Show the disk use of models on each host")
def disk_use(request: HttpRequest) -> list[HostDiskOut]:
    user = caller(request)
    return [HostDiskOut.of(item) for item in disk.by_host(user, Host.objects.visible_to(user))]


@router.get("/hubs", response=list[HubOut], summary="List hubs")
@paginate(Pages)
def list_hubs(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Hub.objects.visible_to(caller(request)).prefetch_related("teams").order_by("id")


@router.post("/hubs", response={201: HubOut}, summary="Add a hub")
def add_hub(request: HttpRequest, data: HubIn) -> Status[Hub]:
    words = data.dict(exclude={"teams"})
    return Status(201, services.save_hub(caller(request), None, **words, teams=_teams(data.teams)))


@router.patch("/hubs/{hub_id}", response=HubOut, summary="Update a hub")
def change_hub(request: HttpRequest, hub_id: int, data: HubChange) -> Hub:
    hub = _hub(request, hub_id)
    words = {name: getattr(hub, name) for name in ("name", "endpoint", "allows_private", "is_enabled")}
    words |= {name: value for name, value in data.dict(exclude={"teams"}).items() if value is not None}
    teams = list(hub.teams.all()) if data.teams is None else _teams(data.teams)
    return services.save_hub(caller(request), hub, **words, teams=teams)


@router.delete("/hubs/{hub_id}", response={204: None}, summary="Delete a hub and its token")
def delete_hub(request: HttpRequest, hub_id: int) -> Status[None]:
    services.delete_hub(caller(request), _hub(request, hub_id))
    return Status(204, None)


@router.get("/hubs/{hub_id}/search", response=list[FoundRepoOut], summary="Search a hub")
def search_hub(
    request: HttpRequest, hub_id: int, q: Annotated[str, Field(max_length=200)] = ""
) -> list[hubs.FoundRepo]:
    return hubs.search(_usable(request, hub_id), q)


@router.get("/hubs/{hub_id}/repo", response=RepoOut, summary="Show the variants of a repository")
def get_repo(
    request: HttpRequest,
    hub_id: int,
    name: Annotated[str, Field(min_length=1, max_length=200, description="owner/name")],
    revision: Annotated[str, Field(max_length=200, description="branch, tag or commit; default: main")] = "",
) -> RepoOut:
    hub = _usable(request, hub_id)
    repo = hubs.repo(hub, name, revision)
    fleet = Fleet.of(Host.objects.visible_to(caller(request)).for_list())
    offer = inspecting.offer(hub, repo)
    return RepoOut.of(repo, offer, lambda one: fit.by_size(one.size_bytes, one.format, fleet, one.quantisation).places)


@router.post("/hubs/{hub_id}/approvals", response={204: None}, summary="Trust the Python code of one commit")
def approve_code(request: HttpRequest, hub_id: int, data: ApprovalIn) -> Status[None]:
    services.approve_code(caller(request), _hub(request, hub_id), data.repo, data.commit)
    return Status(204, None)


@router.get("/images", response=list[ImageOut], summary="List allowed container images")
@paginate(Pages)
def list_images(request: HttpRequest):  # type: ignore[no-untyped-def]
    return AllowedImage.objects.select_related("added_by").order_by("id")


@router.post("/images", response={201: ImageOut}, summary="Allow a container image or repository")
def allow_image(request: HttpRequest, data: ImageIn) -> Status[AllowedImage]:
    return Status(201, images.allow(caller(request), data.image))


@router.delete("/images/{image_id}", response={204: None}, summary="Disallow a container image or repository")
def forbid_image(request: HttpRequest, image_id: int) -> Status[None]:
    images.forbid(caller(request), get_object_or_404(AllowedImage, pk=image_id))
    return Status(204, None)


def _hub(request: HttpRequest, hub_id: int) -> Hub:
    return get_object_or_404(Hub.objects.visible_to(caller(request)), pk=hub_id)


def _usable(request: HttpRequest, hub_id: int) -> Hub:
    hub = _hub(request, hub_id)
    hubs.check_enabled(hub)
    return hub


def _teams(slugs: list[str]) -> list[Team]:
    teams = list(Team.objects.filter(slug__in=slugs))
    unknown = sorted(set(slugs) - {team.slug for team in teams})
    if unknown:
        message = f"There is no team {unknown[0]!r}."
        raise Invalid(message, "Name teams by their slugs.", fields={"teams": message})
    return teams
