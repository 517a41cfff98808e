"""What models take on each host, and what of it nobody uses."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Coalesce

from webapp.accounts.models import User
from webapp.catalog.models import Artifact, ArtifactCopy
from webapp.deployments.models import Deployment, Replica
from webapp.inventory.models import Host


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
    """A host's disk as far as models go: copies that a person may see, and in numbers the others. Sizes in bytes."""

    host: Host
    held: tuple[Held, ...]
    others_copies: int = 0
    others_bytes: int = 0

    @property
    def models_bytes(self) -> int:
        return self.others_bytes + sum(item.copy.artifact.size_bytes for item in self.held)

    @property
    def unused_bytes(self) -> int:
        return sum(item.copy.artifact.size_bytes for item in self.held if item.is_unused)


def by_host(user: User, hosts: QuerySet[Host]) -> list[HostDisk]:
    """These hosts with their copies: unused before used, large before small. The number of queries is constant."""
    seen = Artifact.objects.visible_to(user)
    on_them = ArtifactCopy.objects.filter(host__in=hosts)
    copies = on_them.filter(artifact__in=seen).select_related("artifact__catalog_model", "host")
    hidden = on_them.exclude(artifact__in=seen).values_list("host").order_by()
    others = {
        host: (number, size)
        for host, number, size in hidden.annotate(number=Count("id"), size=Sum("artifact__size_bytes"))
    }
    uses, served = _uses(), served_now()
    lists: dict[int, list[Held]] = {}
    for copy in copies.order_by("-artifact__size_bytes", "id"):
        lists.setdefault(copy.host_id, []).append(Held(copy, uses.get(copy.artifact_id, 0), copy.artifact_id in served))
    for held in lists.values():
        held.sort(key=lambda item: not item.is_unused)
    return [
        HostDisk(host, tuple(lists.get(host.pk, ())), *others.get(host.pk, (0, 0))) for host in hosts.order_by("name")
    ]


def served_now() -> dict[int, int]:
    """The artifacts with which a replica is ready at this moment, each with its model."""
    rows = Replica.objects.filter(state="ready").order_by()
    ids = rows.values_list(Coalesce("revision__artifact", "deployment__artifact"), flat=True).distinct()
    return dict(Artifact.objects.filter(pk__in=ids).values_list("pk", "catalog_model_id"))


def _uses() -> dict[int, int]:
    """How many deployments each artifact has."""
    return dict(Deployment.objects.values_list("artifact").annotate(number=Count("id")).order_by())
