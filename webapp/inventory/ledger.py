"""The memory ledger as it is drawn: one bar per memory, with who holds what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from webapp.inventory.models import Host, Reservation

SHADES = 6


@dataclass(frozen=True)
class Share:
    """What one owner has of a memory; no url for what the person may not know by name."""

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
    reserved_bytes: int
    shares: tuple[Share, ...]

    @property
    def free_bytes(self) -> int:
        return self.usable_bytes - self.reserved_bytes

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


def ledgers_of(host: Host, replicas: Mapping[str, Any], jobs: Mapping[str, Any]) -> list[Ledger]:
    """The host's memory first, then each GPU that is there. `replicas` and `jobs` are those that may be named, by the
    owner's name in the reservations."""
    reservations = list(Reservation.objects.filter(host=host).order_by("-size_bytes"))
    ledgers = [
        Ledger(
            "Memory",
            host.memory_bytes,
            host.usable_bytes,
            host.reserved_bytes,
            _shares(reservations, None, replicas, jobs),
        )
    ]
    for card in host.accelerators.all():
        if card.is_present:
            shares = _shares(reservations, card.pk, replicas, jobs)
            name = f"GPU {card.index} · {card.name}"
            ledgers.append(Ledger(name, card.memory_bytes, card.usable_bytes, card.reserved_bytes, shares))
    return ledgers


def _shares(
    reservations: list[Reservation], accelerator_id: int | None, replicas: Mapping[str, Any], jobs: Mapping[str, Any]
) -> tuple[Share, ...]:
    shares = []
    for reservation in reservations:
        if reservation.accelerator_id == accelerator_id and reservation.size_bytes:
            label, url = "somebody else's", ""
            if replica := replicas.get(reservation.owner):
                label = f"{replica.deployment.name} #{replica.number}"
                url = reverse("deployments:detail", args=[replica.deployment_id])
            elif job := jobs.get(reservation.owner):
                label, url = f"{job.kind} #{job.pk}", reverse("jobs:detail", args=[job.pk])
            shares.append(Share(label, url, reservation.size_bytes))
    return tuple(shares)
