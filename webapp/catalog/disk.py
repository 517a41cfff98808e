"""What models take on each host, and what of it nobody uses."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.apps import apps
from django.db.models import Count

from webapp.catalog.fits import Room
from webapp.catalog.models import ArtifactCopy
from webapp.inventory.models import Host


@dataclass(frozen=True)
class Held:
    """One copy and who uses it."""

    copy: ArtifactCopy
    deployments: int

    @property
    def is_unused(self) -> bool:
        return self.deployments == 0


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


def by_host(host_id: int | None = None) -> list[HostDisk]:
    """Every host with its copies, large before small. The number of queries is constant."""
    copies = ArtifactCopy.objects.select_related("artifact__catalog_model", "host")
    hosts = Host.objects.order_by("name")
    if host_id is not None:
        copies, hosts = copies.filter(host=host_id), hosts.filter(pk=host_id)
    uses = _uses()
    lists: dict[int, list[Held]] = {}
    for copy in copies.order_by("-artifact__size_bytes", "id"):
        lists.setdefault(copy.host_id, []).append(Held(copy, uses.get(copy.artifact_id, 0)))
    return [HostDisk(host, tuple(lists.get(host.pk, ()))) for host in hosts]


def rooms(hosts: Iterable[Host] | None = None) -> list[Room]:
    """Every host's memory, for the rough answer to "where would it fit"."""
    found = Host.objects.online().for_list() if hosts is None else hosts  # type: ignore[attr-defined]
    return [
        Room(
            host.name,
            host.usable_bytes,
            tuple(card.usable_bytes for card in host.accelerators.all() if card.is_present),
        )
        for host in found
    ]


def _uses() -> dict[int, int]:
    """How many deployments each artifact has."""
    deployments = apps.get_model("deployments", "Deployment").objects
    return dict(deployments.values_list("artifact").annotate(number=Count("id")).order_by())
