"""Pages of hosts. Everybody who signs in sees the hosts; what runs there is named only to those who may know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from webapp.accounts.models import User
from webapp.doors import answer, carry_out, door, page_or_panel, person
from webapp.following import follow
from webapp.inventory import services
from webapp.inventory.models import Booking, Host
from webapp.listings import listing

SHADES = 6


@dataclass(frozen=True)
class Share:
    """What one holder has of a memory; no url for what the person may not know by name."""

    label: str
    url: str
    size_bytes: int


@dataclass(frozen=True)
class Piece(Share):
    """A share drawn on a bar of a thousand units; `shade` numbers the colours."""

    x: int
    width: int
    shade: int


@dataclass(frozen=True)
class Ledger:
    """One memory and who holds it, in bytes."""

    name: str
    total_bytes: int
    usable_bytes: int
    booked_bytes: int
    shares: tuple[Share, ...]

    @property
    def free_bytes(self) -> int:
        return self.usable_bytes - self.booked_bytes

    @property
    def kept_back_bytes(self) -> int:
        return max(self.total_bytes - self.usable_bytes, 0)

    @property
    def pieces(self) -> list[Piece]:
        """The shares side by side from the left, biggest first."""
        pieces, x = [], 0
        for number, share in enumerate(self.shares):
            width = max(1, round(1000 * share.size_bytes / self.total_bytes)) if self.total_bytes else 0
            pieces.append(Piece(share.label, share.url, share.size_bytes, x, width, number % SHADES))
            x += width
        return pieces


@door("GET")
def index(request: HttpRequest) -> HttpResponse:
    following = follow(["hosts"])
    panel, context = list_panel(person(request), request.GET)
    return page_or_panel(request, "hosts/index.html", panel, {**context, "following": following})


def list_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    found = listing(
        Host.objects.for_list().annotate(replica_count=Count("replicas")),
        asked,
        search=("name", "endpoint", "state"),
        sorts={"name": ("name",), "state": ("state",), "memory": ("memory_bytes",), "disk": ("disk_free_bytes",)},
    )
    return "hosts/_list.html", {"listing": found}


@door("GET")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    following = follow([f"host:{pk}"])
    panel, context = detail_panel(person(request), pk)
    return page_or_panel(request, "hosts/detail.html", panel, {**context, "following": following})


def detail_panel(user: User, pk: int) -> tuple[str, dict[str, Any]]:
    host = get_object_or_404(Host.objects.for_list(), pk=pk)
    replicas = _replicas(user, host)
    return "hosts/_panel.html", {
        "host": host,
        "ledgers": _ledgers(host, {replica.holder: replica for replica in replicas}),
        "replicas": replicas,
        "may_manage": user.is_superuser,
        "is_on_hold": services.is_on_hold(),
    }


@door("POST")
def drain(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the host out of placement or back in."""
    user, host = _managed(request, pk)
    wanted = request.POST.get("drained") == "1"
    said = f"{host.name} takes no new replicas." if wanted else f"{host.name} takes new replicas again."
    carry_out(request, lambda: services.set_drained(user, host, wanted), said)
    return answer(request, "inventory:detail", "hosts/_panel.html", lambda: detail_panel(user, pk)[1], pk)


@door("POST")
def accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the engine that answers at this address now for the host's own."""
    user, host = _managed(request, pk)
    carry_out(request, lambda: services.accept_engine(user, host), f"The next look at {host.name} decides.")
    return answer(request, "inventory:detail", "hosts/_panel.html", lambda: detail_panel(user, pk)[1], pk)


@door("POST")
def release_hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Let unknown containers of this installation be removed again."""
    user, _host = _managed(request, pk)
    carry_out(
        request, lambda: services.release_hold(user), "Containers that no deployment knows are removed from now on."
    )
    return answer(request, "inventory:detail", "hosts/_panel.html", lambda: detail_panel(user, pk)[1], pk)


def _managed(request: HttpRequest, pk: int) -> tuple[User, Host]:
    """The host, for the installation's admins alone."""
    user = person(request)
    if not user.is_superuser:
        raise PermissionDenied("Only an admin of this Modelyard may change a host.")
    return user, get_object_or_404(Host, pk=pk)


def _replicas(user: User, host: Host) -> list[Any]:
    """Replicas on the host that this person may see. Rooms above are asked by name: this one may not import them."""
    rows = apps.get_model("deployments", "Replica").objects
    return list(
        rows.visible_to(user).on_host(host.pk).select_related("deployment").order_by("deployment__name", "number")
    )


def _ledgers(host: Host, replicas: Mapping[str, Any]) -> list[Ledger]:
    bookings = list(Booking.objects.filter(host=host).order_by("-size_bytes"))
    ledgers = [
        Ledger("Memory", host.memory_bytes, host.usable_bytes, host.booked_bytes, _shares(bookings, None, replicas))
    ]
    for card in host.accelerators.all():
        if card.is_present:
            shares = _shares(bookings, card.pk, replicas)
            name = f"GPU {card.index} · {card.name}"
            ledgers.append(Ledger(name, card.memory_bytes, card.usable_bytes, card.booked_bytes, shares))
    return ledgers


def _shares(bookings: list[Booking], accelerator_id: int | None, replicas: Mapping[str, Any]) -> tuple[Share, ...]:
    shares = []
    for booking in bookings:
        if booking.accelerator_id == accelerator_id and booking.size_bytes:
            replica = replicas.get(booking.holder)
            label = f"{replica.deployment.name} #{replica.number}" if replica else "somebody else's"
            url = reverse("deployments:detail", args=[replica.deployment_id]) if replica else ""
            shares.append(Share(label, url, booking.size_bytes))
    return tuple(shares)
