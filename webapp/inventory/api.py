"""REST doors of the inventory."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router
from ninja.pagination import paginate

from webapp.accounts.callers import caller
from webapp.errors import NotAllowed
from webapp.inventory import services
from webapp.inventory.models import Host
from webapp.inventory.schemas import DrainIn, HostOut
from webapp.pagination import Pages

router = Router(tags=["hosts"])


@router.get("/hosts", response=list[HostOut], summary="All hosts")
@paginate(Pages)
def list_hosts(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Host.objects.for_list()


@router.get("/hosts/{host_id}", response=HostOut, summary="One host")
def get_host(request: HttpRequest, host_id: int) -> Host:
    return get_object_or_404(Host.objects.for_list(), pk=host_id)


@router.patch("/hosts/{host_id}", response=HostOut, summary="Drain a host, or take it back")
def drain_host(request: HttpRequest, host_id: int, data: DrainIn) -> Host:
    if not caller(request).is_superuser:
        raise NotAllowed("Only admins drain hosts.")
    services.set_drained(caller(request), get_object_or_404(Host, pk=host_id), data.is_drained)
    return get_object_or_404(Host.objects.for_list(), pk=host_id)
