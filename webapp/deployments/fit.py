"""Does it fit? One answer for the models page, the forms, the dry run and the worker: host by host, with the terms.

Looks only: workers reserve what `Fit.best` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import cast

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact, CopyState
from webapp.deployments import workload
from webapp.deployments.fleet import Fleet
from webapp.deployments.spec import RevisionSpec
from webapp.deployments.workload import Workload
from webapp.engines.base import HardwareAllocation, OptionWarning, Vendor
from webapp.inventory.managing import hosts_for
from webapp.inventory.models import Host
from webapp.planner import headroom, placement
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Term
from webapp.planner.placement import When

MOST_WHY = 500
# Hosts that a page answers for one by one; of the others it says how many there are.
SHOWN = 6


_VERDICTS = {When.NOW: "fits", When.WHEN_EMPTY: "not now", When.NEVER: "does not fit"}


@dataclass(frozen=True)
class Store:
    """One memory of a host: what would be reserved of it and what is free, in bytes."""

    name: str
    needed_bytes: int
    free_bytes: int
    usable_bytes: int

    @property
    def after_bytes(self) -> int:
        """What would be taken with one replica here."""
        return self.usable_bytes - self.free_bytes + self.needed_bytes


@dataclass(frozen=True)
class Place:
    """One host's answer. `why` is empty when a replica would go there now."""

    host: Host
    offer: placement.Host
    why: str
    found: placement.Choice | None
    demand: placement.Demand
    work: Workload

    @property
    def fits(self) -> bool:
        return not self.why

    @cached_property
    def when(self) -> When:
        """Now, when the host is empty and at work, or never."""
        if self.fits:
            return When.NOW
        return When.NEVER if self._could is None else When.WHEN_EMPTY

    @property
    def verdict(self) -> str:
        """The same in words for people."""
        return _VERDICTS[self.when]

    @cached_property
    def _could(self) -> placement.Choice | None:
        return placement.could(self.demand, self.offer)

    @cached_property
    def choice(self) -> placement.Choice:
        """The hardware that it gets, would get, or would come nearest to."""
        return self.found or self._could or self._nearest()

    @property
    def where(self) -> str:
        """The kind of hardware in words: GPU, 2 GPUs, memory; empty for never."""
        if self.when == When.NEVER:
            return ""
        count = len(self.choice.accelerator_ids)
        return "memory" if not count else "GPU" if count == 1 else f"{count} GPUs"

    @cached_property
    def need(self) -> placement.Need:
        """What is reserved there."""
        return self.demand.needs.get(self.choice.vendor, placement.Need(0))

    @property
    def hardware(self) -> HardwareAllocation:
        """The hardware that goes with the choice."""
        return self._hardware(self.choice)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        return self.work.terms(self.hardware)

    @property
    def share_by_card(self) -> dict[int, int]:
        """Bytes to reserve of each accelerator, by its primary key."""
        shares = dict(zip(self.choice.accelerator_ids, self.choice.share_bytes, strict=True))
        return {card.pk: shares[card.uuid] for card in self.host.accelerators.all() if card.uuid in shares}

    @cached_property
    def stores(self) -> tuple[Store, ...]:
        """The memories it would go into; the host's own last."""
        shares = dict(zip(self.choice.accelerator_ids, self.choice.share_bytes, strict=True))
        free = {card.id: card for card in self.offer.accelerators}
        cards = [
            Store(
                f"GPU {card.index} ({card.name})",
                shares[card.uuid],
                free[card.uuid].free_bytes,
                free[card.uuid].total_bytes,
            )
            for card in self.host.accelerators.all()
            if card.uuid in shares
        ]
        memory = Store(
            "Memory", self.need.host_bytes, self.offer.free_memory_bytes, self.offer.total_memory_bytes
        )  # fmt: skip
        return (*cards, memory)

    @cached_property
    def instead(self) -> str:
        """The nearest change of options that would fit now, when memory is all that lacks; empty when none is known."""
        if self.fits or not headroom.is_all_that_lacks(self.demand, self.offer):
            return ""
        choice, gpu_bytes = headroom.most(self.demand, self.offer)
        return self.work.suggestion(self._hardware(choice), placement.Need(self.offer.free_memory_bytes, gpu_bytes))

    def _hardware(self, choice: placement.Choice) -> HardwareAllocation:
        host_bytes = self.demand.needs.get(choice.vendor, placement.Need(0)).host_bytes
        return HardwareAllocation(
            cast(Vendor, choice.vendor), choice.accelerator_ids, host_bytes, max(self.host.cpu_count, 1)
        )  # fmt: skip

    def _nearest(self) -> placement.Choice:
        """What a replica would be given on a host that can never take it: its emptiest cards, else its CPUs."""
        cards = [card for card in self.offer.accelerators if card.vendor in self.demand.needs]
        if not cards:
            return placement.Choice(self.offer.id, "cpu")
        first = max(cards, key=lambda card: card.free_bytes)
        alike = sorted((c for c in cards if c.vendor == first.vendor and not c.is_slice), key=lambda c: -c.free_bytes)
        alike = alike or [first]
        count = max((one for one in self.demand.counts if one <= len(alike)), default=1)
        share = -(-self.demand.needs[first.vendor].on(count) // count)
        return placement.Choice(self.offer.id, first.vendor, tuple(c.id for c in alike[:count]), (share,) * count)


@dataclass(frozen=True)
class Fit:
    """What it takes, and where it would go. `problem` says why nothing could be calculated."""

    places: tuple[Place, ...] = ()
    # Where the next replica goes; None when no host takes it now.
    best: Place | None = None
    problem: str = ""
    # Hosts beyond `places`, and how many of those would take it.
    others: int = 0
    others_fit: int = 0
    # Without a host the terms are still worth knowing.
    work: Workload | None = None
    # What was asked, and for whom.
    spec: RevisionSpec | None = None
    team: Team | None = None
    # What is said where no host could even be asked.
    nowhere: str = "No hosts yet."

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        if self.places:
            return self.places[0].terms
        return self.work.terms(HardwareAllocation("cpu")) if self.work else ()

    @property
    def total_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)

    @property
    def reserved_bytes(self) -> int:
        """What placement reserves, in all memories together."""
        needed = workload.to_reserve(self.terms)
        return needed.host_bytes + needed.gpu_bytes

    @property
    def margin_bytes(self) -> int:
        """What is reserved beyond the terms."""
        return self.reserved_bytes - self.total_bytes

    @property
    def refusal(self) -> str:
        """Why no host takes it now: every host's own reason; empty when one does."""
        if self.best is not None:
            return ""
        return " ".join(f"{place.host.name}: {place.why}" for place in self.places) or self.nowhere

    @property
    def warnings(self) -> tuple[OptionWarning, ...]:
        """Options that are allowed and probably not meant."""
        return self.work.warnings() if self.work else ()

    @cached_property
    def advice(self) -> str:
        """What would help where a placement label is on no host; empty otherwise."""
        return "" if self.spec is None or self.best is not None else _advice(self.spec, self.team)

    @property
    def possible(self) -> list[Place]:
        """Places that would take it, those that do now at the front; as many as a page lists."""
        return list(islice((place for place in self.places if place.when != When.NEVER), SHOWN))

    @property
    def first(self) -> Place | None:
        """The first of them."""
        return next((place for place in self.places if place.when != When.NEVER), None)

    @property
    def shown(self) -> tuple[Place, ...]:
        """As many as a page lists one by one."""
        return self.places[:SHOWN]


def answer(spec: RevisionSpec, team: Team | None = None, *, fleet: Fleet | None = None, most: int | None = None) -> Fit:
    """Where one replica of this would go. `fleet` when the hosts have been read already, else those of the team.

    A pinned host leaves the others out; at most `most` hosts answer one by one, the likely ones first.
    """
    try:
        work = workload_of(spec)
    except ValueError as error:
        return Fit(problem=str(error))
    if fleet is None:
        fleet = Fleet.for_files(spec.artifact, spec.host, team, most=most)
    try:
        demand = work.demand(fleet.offers, spec.host.pk if spec.host else None, spec.placement_labels)
    except ValueError as error:
        return Fit(problem=f"These options do not go together: {error}")
    found = replace(_judged(work, demand, fleet, most), spec=spec, team=team)
    return replace(found, nowhere=f"The team may not use {spec.host.name}.") if spec.host else found


def _advice(spec: RevisionSpec, team: Team | None) -> str:
    """How labels that no host carries get onto one; empty when every one of them is somewhere."""
    if not spec.placement_labels:
        return ""
    there = {label for labels in hosts_for(team).values_list("labels", flat=True) for label in labels}
    missing = [label for label in spec.placement_labels if label not in there]
    if not missing:
        return ""
    words = ", ".join(missing)
    return (
        f"No host carries the label{'' if len(missing) == 1 else 's'} {words}. "
        "An administrator sets labels on the host's page, "
        f"with PATCH /api/v1/hosts/ID or with `modelyard hosts update HOST --labels {missing[0]}`."
    )


def of_artifact(artifact: Artifact, fleet: Fleet) -> Fit:
    """The same for files that lie in the catalogue, as a new deployment of them begins: its copies prefetched."""
    there = [copy.host_id for copy in artifact.copies.all() if copy.state == CopyState.PRESENT]
    spec = RevisionSpec(artifact=artifact, engine=workload.engine_for(artifact.format))
    return answer(spec, fleet=fleet.with_files_on(there))


def by_size(weights_bytes: int, file_format: str, fleet: Fleet, quantisation: str = "") -> Fit:
    """The same for files that nobody has here yet: a rough estimate from their size, and room for them on the disk."""
    work = workload.of_size(weights_bytes, file_format, quantisation)
    return _judged(work, work.demand(fleet.offers, files_bytes=weights_bytes), fleet)


def workload_of(spec: RevisionSpec) -> Workload:
    """Raises ValueError, in words for people, for files or options that nothing can be calculated with."""
    engine = engines.get(spec.engine)
    try:
        facts = ModelFacts.from_json(spec.artifact.facts)
    except ValueError as error:
        raise ValueError("The file's header says too little for an estimate.") from error
    try:
        options = engine.Options.model_validate(spec.options)
    except ValueError as error:
        raise ValueError(f"These options do not go together: {error}") from error
    return Workload(engine, facts, options, spec.has_own_image)


def _judged(work: Workload, demand: placement.Demand, fleet: Fleet, most: int | None = None) -> Fit:
    decision = placement.place(demand, fleet.offers)
    places = [
        Place(
            host,
            offer,
            "" if offer.id in decision.options else decision.reasons_by_host[offer.id],
            decision.options.get(offer.id),
            demand,
            work,
        )
        for host, offer in fleet.pairs
    ]
    best = next((one for one in places if decision.chosen and one.offer.id == decision.chosen.host_id), None)
    places.sort(key=lambda one: (bool(one.why), not one.offer.has_artifact, one.host.name))
    shown = tuple(places[:most])
    others = places[len(shown) :]
    return Fit(
        shown, best, others=len(others) + fleet.unread, others_fit=sum(one.fits for one in others), work=work
    )  # fmt: skip


def why_on_no_hardware(spec: RevisionSpec, team: Team | None = None) -> str:
    """Why no host that has the files, and that it may go to, can run them however much is free.

    Empty when one can, when that is not known, and when no host has them yet.
    """
    try:
        work = workload_of(spec)
    except ValueError:
        return ""
    there = spec.artifact.copies.filter(state=CopyState.PRESENT).values("host")
    hosts = hosts_for(team).filter(pk__in=there)
    whys: dict[str, str] = {}
    for host in (hosts if spec.host is None else hosts.filter(pk=spec.host.pk)).for_list():
        whys[host.name] = _why_not_by(work, host)
        if not whys[host.name]:
            return ""
    return " ".join(f"{name}: {why}" for name, why in whys.items())[:MOST_WHY]


def why_none_on(spec: RevisionSpec, labels: Iterable[str], host: Host) -> str:
    """Why the host's hardware runs no model of these quantisations as this is run; empty when it runs one, or there
    are none."""
    engine, is_own = engines.get(spec.engine), spec.has_own_image
    works = [Workload(engine, ModelFacts("", quantisation=label), engine.Options(), is_own) for label in labels]
    whys = [_why_not_by(work, host) for work in works]
    return whys[0] if whys and all(whys) else ""


def _why_not_by(work: Workload, host: Host) -> str:
    """Why neither the host's cards nor its processors can run it; empty when one can, as far as is known."""
    # A card that was not found today may be there tomorrow: placement looks again.
    kinds = [*dict.fromkeys(card.vendor for card in host.accelerators.all()), "cpu"]
    whys = [work.why_not_on(kind, host.processor.flags) for kind in kinds if work.can_have(kind)]
    return " ".join(dict.fromkeys(whys)) if all(whys) else ""
