"""The hosts and their ledger as placement sees them, read once for as many questions as there are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from webapp.accounts.models import Team
from webapp.catalog.models import Artifact, CopyState
from webapp.inventory.managing import hosts_for
from webapp.inventory.models import Accelerator, Host, HostQuerySet, Reservation
from webapp.inventory.states import HostState
from webapp.planner import leading, placement


@dataclass(frozen=True)
class Fleet:
    """Hosts with their offers, by name. `unread` more were left out because nothing has to be said of them."""

    pairs: tuple[tuple[Host, placement.Host], ...]
    unread: int = 0

    @property
    def offers(self) -> list[placement.Host]:
        return [offer for _host, offer in self.pairs]

    @classmethod
    def of(cls, hosts: Iterable[Host], replicas_by_host: Mapping[int, int] | None = None, unread: int = 0) -> "Fleet":
        """These hosts, their accelerators prefetched; `replicas_by_host` counts the deployment's others."""
        counts = replicas_by_host or {}
        return cls(tuple((host, _offer(host, counts.get(host.pk, 0))) for host in hosts), unread)

    @classmethod
    def for_files(
        cls,
        artifact: Artifact,
        pinned: Host | None = None,
        team: Team | None = None,
        replicas_by_host: Mapping[int, int] | None = None,
        most: int | None = None,
    ) -> "Fleet":
        """The hosts that the team may use, or the pinned one of them. With `most`: those that have the files, without
        which none takes it, and of the others as many as are to be shown."""
        rows = hosts_for(team) if pinned is None else hosts_for(team).filter(pk=pinned.pk)
        there = set(artifact.copies.filter(state=CopyState.PRESENT).values_list("host_id", flat=True))
        hosts, unread = (list(rows.for_list()), 0) if most is None else _likely_ones(rows, there, most)
        return cls.of(hosts, replicas_by_host, unread).with_files_on(there)

    def with_files_on(self, host_ids: Iterable[int]) -> "Fleet":
        """The same hosts, and the files lie on these of them."""
        there = set(host_ids)
        return replace(self, pairs=tuple((host, replace(o, has_artifact=host.pk in there)) for host, o in self.pairs))

    def without(self, reservations: Sequence[Reservation]) -> "Fleet":
        """The same hosts as they would be with these reservations given back."""
        return replace(self, pairs=tuple((host, _without(host, offer, reservations)) for host, offer in self.pairs))

    def leading(self) -> "Fleet":
        """Those that are worth asking where any hardware will do; see planner/leading.py."""
        kept = {offer.id for offer in leading.leading(self.offers)}
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair[1].id in kept))


def _likely_ones(rows: HostQuerySet, there: set[int], most: int) -> tuple[list[Host], int]:
    found = list(rows.filter(pk__in=there).for_list())
    rest = rows.exclude(pk__in=there)
    shown = list(rest.for_list()[: max(0, most - len(found))])
    return [*found, *shown], rest.count() - len(shown)


def _offer(host: Host, replicas: int) -> placement.Host:
    return placement.Host(
        id=host.pk,
        name=host.name,
        is_online=host.state == HostState.ONLINE,
        is_draining=host.is_drained,
        is_prepared=host.is_prepared,
        free_memory_bytes=host.free_bytes,
        total_memory_bytes=host.usable_bytes,
        free_disk_bytes=host.disk_free_bytes,
        labels=frozenset(host.labels),
        cpu_flags=host.processor.flags,
        replicas=replicas,
        accelerators=tuple(_card(card) for card in host.accelerators.all() if card.is_present),
    )


def _card(card: Accelerator) -> placement.Accelerator:
    return placement.Accelerator(
        id=card.uuid,
        vendor=card.vendor,
        free_bytes=card.usable_bytes - card.reserved_bytes,
        total_bytes=card.usable_bytes,
        name=card.name,
        compute_capability=card.compute_capability,
        is_slice=bool(card.parent_uuid),
    )


def _without(host: Host, offer: placement.Host, reservations: Sequence[Reservation]) -> placement.Host:
    mine = [reservation for reservation in reservations if reservation.host_id == host.pk]
    if not mine:
        return offer
    memory = sum(reservation.size_bytes for reservation in mine if reservation.accelerator_id is None)
    by_card = Counter[int]()
    for reservation in mine:
        if reservation.accelerator_id is not None:
            by_card[reservation.accelerator_id] += reservation.size_bytes
    freed = {card.uuid: by_card[card.pk] for card in host.accelerators.all()}
    cards = tuple(replace(card, free_bytes=card.free_bytes + freed.get(card.id, 0)) for card in offer.accelerators)
    return replace(offer, free_memory_bytes=offer.free_memory_bytes + memory, accelerators=cards)
