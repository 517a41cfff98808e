"""What models take on each host, and what of it nobody uses."""

from dataclasses import dataclass
from datetime import datetime

from django.apps import apps
from django.db.models import Count, QuerySet
from django.db.models.functions import Coalesce

from webapp.catalog.fits import Room
from webapp.catalog.models import Artifact, ArtifactCopy
from webapp.inventory.models import Host
from webapp.inventory.states import HostState


@dataclass(frozen=True)
class Held:
    """One copy and who uses it."""

    copy: ArtifactCopy
    deployments: int
    is_served: bool = False  # a replica with it is ready now

    @property
    def is_unused(self) -> bool:
        return self.deployments == 0

    @property
    def last_used_at(self) -> datetime | None:
        return self.copy.artifact.last_used_at


@dataclass(frozen=True)
class HostDisk:
    """A host's disk as far as models go. Sizes in bytes."""

    host: Host
    held: tuple[Held, ...]

    @property
    def models_bytes(self) -> int:
        return sum(item.copy.artifact.size_bytes for item in self.held)

    @property
    def unused_bytes(self) -> int:
        return sum(item.copy.artifact.size_bytes for item in self.held if item.is_unused)


def by_host(hosts: QuerySet[Host]) -> list[HostDisk]:
    """These hosts with their copies: unused before used, large before small. The number of queries is constant."""
    copies = ArtifactCopy.objects.filter(host__in=hosts).select_related("artifact__catalog_model", "host")
    uses, served = _uses(), served_now()
    lists: dict[int, list[Held]] = {}
    for copy in copies.order_by("-artifact__size_bytes", "id"):
        lists.setdefault(copy.host_id, []).append(Held(copy, uses.get(copy.artifact_id, 0), copy.artifact_id in served))
    for held in lists.values():
        held.sort(key=lambda item: not item.is_unused)
    return [HostDisk(host, tuple(lists.get(host.pk, ()))) for host in hosts.order_by("name")]


def rooms(hosts: QuerySet[Host]) -> list[Room]:
    """The memory of those that are online, for the rough answer to "where would it fit"."""
    return [
        Room(
            host.name,
            host.usable_bytes,
            tuple(card.usable_bytes for card in host.accelerators.all() if card.is_present),
        )
        for host in hosts.filter(state=HostState.ONLINE).prefetch_related("accelerators").order_by("name")
    ]


def served_now() -> dict[int, int]:
    """The artifacts with which a replica is ready at this moment, each with its model."""
    rows = apps.get_model("deployments", "Replica").objects.filter(state="ready").order_by()
    ids = rows.values_list(Coalesce("revision__artifact", "deployment__artifact"), flat=True).distinct()
    return dict(Artifact.objects.filter(pk__in=ids).values_list("pk", "catalog_model_id"))


def _uses() -> dict[int, int]:
    """How many deployments each artifact has."""
    deployments = apps.get_model("deployments", "Deployment").objects
    return dict(deployments.values_list("artifact").annotate(number=Count("id")).order_by())
