"""REST endpoints of the inventory."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts.models import Team
from webapp.foundation.errors import Invalid
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.inventory.schemas import HoldOut, HostEventOut, HostIn, HostOut
from webapp.interfaces.api.pagination import Pages
from webapp.inventory import managing, services
from webapp.inventory.models import Host, HostEvent

router = Router(tags=["hosts"])


@router.get("/hosts", response=list[HostOut], summary="List hosts")
@paginate(Pages)
def list_hosts(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Host.objects.visible_to(caller(request)).for_list().prefetch_related("grants__team")


@router.get("/hosts/{host_id}", response=HostOut, summary="Get a host")
def get_host(request: HttpRequest, host_id: int) -> Host:
    rows = Host.objects.visible_to(caller(request)).for_list().prefetch_related("grants__team")
    return get_object_or_404(rows, pk=host_id)


@router.patch("/hosts/{host_id}", response=HostOut, summary="Update a host: drain, labels, price, reserve, sharing")
def change_host(request: HttpRequest, host_id: int, data: HostIn) -> Host:
    host = get_host(request, host_id)
    managing.change_host(caller(request), host, _change(data))
    return get_host(request, host_id)


@router.post("/hosts/{host_id}/accept-engine", response={202: HostOut}, summary="Accept a new Docker engine")
def accept_engine(request: HttpRequest, host_id: int) -> Status[Host]:
    """Take the engine that answers at the host's address now for the host's own. Containers of the one before then
    count as gone."""
    services.accept_engine(caller(request), get_host(request, host_id))
    return Status(202, get_host(request, host_id))


@router.get("/hold", response=HoldOut, summary="Show whether unmanaged containers are held after a restore")
def get_hold(request: HttpRequest) -> dict[str, bool]:
    return {"is_on_hold": services.is_on_hold()}


@router.delete("/hold", response={204: None}, summary="Release the hold: unmanaged containers may be removed")
def end_hold(request: HttpRequest) -> Status[None]:
    """After a restore, containers of this Modelyard that no deployment knows are kept until somebody has looked at
    them."""
    services.release_hold(caller(request))
    return Status(204, None)


@router.get("/hosts/{host_id}/events", response=list[HostEventOut], summary="List events of a host, newest first")
@paginate(Pages)
def list_host_events(request: HttpRequest, host_id: int):  # type: ignore[no-untyped-def]
    return HostEvent.objects.filter(host=get_host(request, host_id))


def _change(data: HostIn) -> managing.HostChange:
    """Only what was sent is changed; `null` sets price and reserve back to their defaults."""
    sent = data.dict(exclude_unset=True)
    for name in ("is_drained", "labels", "is_shared", "teams"):
        if name in sent and sent[name] is None:
            raise Invalid(f"{name} cannot be null.", "Leave it out to keep it.", fields={name: "cannot be null"})
    if "teams" in sent:
        found = {team.slug: team for team in Team.objects.filter(slug__in=sent["teams"])}
        unknown = sorted(set(sent["teams"]) - set(found))
        if unknown:
            message = f"There is no team {', '.join(unknown)}."
            raise Invalid(message, "GET /api/v1/me names the teams.", fields={"teams": message})
        sent["teams"] = list(found.values())
    return managing.HostChange(**sent)
