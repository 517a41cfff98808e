"""Pages of hosts. Everybody who signs in sees the hosts; what runs there is named only to those who may know."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.accounts.models import User
from webapp.deployments.models import Replica
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.following import follow
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.views import answer, carry_out, page_or_panel, person, view
from webapp.interfaces.pages.inventory.forms import HostForm
from webapp.inventory import managing, services
from webapp.inventory.ledger import ledgers_of
from webapp.inventory.models import Host
from webapp.jobs.models import Job

EVENT_LINES = 30
JOB_LINES = 10
REPLICA_LINES = 50


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    following = follow(["hosts"])
    panel, context = list_panel(person(request), request.GET)
    return page_or_panel(request, "hosts/index.html", panel, {**context, "following": following})


def list_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    found = listing(
        Host.objects.visible_to(user)
        .for_list()
        .annotate(deployment_count=Count("replicas__deployment", distinct=True)),
        asked,
        sorts={
            "name": ("name",),
            "state": ("state",),
            "memory": ("memory_bytes",),
            "disk": ("disk_free_bytes",),
            "price": ("price_per_hour",),
        },
    )
    return "hosts/_list.html", {"listing": found}


@view("GET")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    following = follow([f"host:{pk}"])
    panel, context = detail_panel(person(request), pk)
    return page_or_panel(request, "hosts/detail.html", panel, {**context, "following": following})


def detail_panel(user: User, pk: int) -> tuple[str, dict[str, Any]]:
    host = get_object_or_404(Host.objects.visible_to(user).for_list(), pk=pk)
    replicas = _replicas(user, host)
    jobs = list(Job.objects.visible_to(user).for_list().filter(host=host)[:JOB_LINES])
    working = {f"job:{job.pk}": job for job in jobs}
    return "hosts/_panel.html", {
        "host": host,
        "processor": host.processor,
        "ledgers": ledgers_of(host, {replica.reservation_owner: replica for replica in replicas}, working),
        "replicas": replicas[:REPLICA_LINES],
        "replica_count": len(replicas),
        "jobs": jobs,
        "events": host.events.all()[:EVENT_LINES],
        "teams": [grant.team for grant in host.grants.select_related("team").order_by("team__name")],
        "may_manage": user.is_superuser,
        "is_on_hold": services.is_on_hold(),
    }


@view("GET", "POST")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Labels, price, reserve, and who may use the host."""
    user, host = _managed(request, pk)
    form = HostForm(request.POST if request.method == "POST" else None, host)
    if request.method == "POST" and form.is_valid():
        try:
            managing.change_host(user, host, form.change())
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, f"{host.name} was changed.")
            return redirect("inventory:detail", pk)
    return render(request, "hosts/edit.html", {"host": host, "form": form}, status=422 if form.errors else 200)


@view("POST")
def drain(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the host out of placement or back in."""
    user, host = _managed(request, pk)
    wanted = request.POST.get("drained") == "1"
    said = f"{host.name} is drained: it takes no new replicas." if wanted else f"{host.name} takes new replicas again."
    carry_out(request, lambda: managing.set_drained(user, host, wanted), said)
    return answer(request, "inventory:detail", "hosts/_panel.html", lambda: detail_panel(user, pk)[1], pk)


@view("POST")
def accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the engine that answers at this address now for the host's own."""
    user, host = _managed(request, pk)
    carry_out(
        request, lambda: services.accept_engine(user, host), f"The new Docker engine of {host.name} is checked now."
    )
    return answer(request, "inventory:detail", "hosts/_panel.html", lambda: detail_panel(user, pk)[1], pk)


@view("POST")
def release_hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Let unknown containers of this installation be removed again."""
    user, _host = _managed(request, pk)
    carry_out(
        request, lambda: services.release_hold(user), "Hold released: unmanaged containers are removed from now on."
    )
    return answer(request, "inventory:detail", "hosts/_panel.html", lambda: detail_panel(user, pk)[1], pk)


def _managed(request: HttpRequest, pk: int) -> tuple[User, Host]:
    """The host, for administrators alone."""
    user = person(request)
    if not user.is_superuser:
        raise PermissionDenied("Only an administrator can change a host.")
    return user, get_object_or_404(Host, pk=pk)


def _replicas(user: User, host: Host) -> list[Replica]:
    """Replicas on the host that this person may see."""
    rows = Replica.objects.visible_to(user).on_host(host.pk)
    return list(rows.select_related("deployment").order_by("deployment__name", "number"))
