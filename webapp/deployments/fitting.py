"""Would it fit? The placement's own answer for every host, with the terms behind it, before anything is written down.

Looks only: workers book.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact, CopyState
from webapp.engines.base import Engine, EngineOptions, HardwareGrant, Vendor
from webapp.inventory.managing import hosts_for
from webapp.inventory.models import Accelerator, Host, HostQuerySet
from webapp.inventory.states import HostState
from webapp.planner import placement
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Capacity, Term, fits

MIB = 1024**2
# An estimate is not a promise: engines get a quarter more host memory, and some on top, before the kernel ends them.
MARGIN = 1.25
HEADROOM_BYTES = 256 * MIB
MOST_WHY = 500
# Hosts that a page answers for one by one; of the others it says how many there are.
SHOWN = 6

Candidate = tuple[Host, placement.Host]
# Vendors of the cards, and what the processors can.
_Kinds = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class Store:
    """One memory of a host: what would be booked of it and what is free, in bytes."""

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
    """One host's answer. `why` is empty when a replica would go there."""

    host: Host
    terms: tuple[Term, ...]
    stores: tuple[Store, ...]
    why: str
    # The nearest change of options that would fit, in words; empty when none is known.
    instead: str = ""

    @property
    def fits(self) -> bool:
        return not self.why


@dataclass(frozen=True)
class Fit:
    """What it takes, and where it would go. `problem` says why nothing could be calculated."""

    terms: tuple[Term, ...] = ()
    places: tuple[Place, ...] = ()
    problem: str = ""
    # Hosts beyond `places`, and how many of those would take it.
    others: int = 0
    others_fit: int = 0

    @property
    def total_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)

    @property
    def booked_bytes(self) -> int:
        """What placement books, in all memories together."""
        needed = booked(self.terms)
        return needed.host_bytes + needed.gpu_bytes

    @property
    def reserve_bytes(self) -> int:
        """What is booked beyond the terms."""
        return self.booked_bytes - self.total_bytes


def fit(
    artifact: Artifact,
    engine_name: str,
    options: dict[str, Any] | None,
    pinned: Host | None = None,
    team: Team | None = None,
    most: int | None = None,
) -> Fit:
    """`options` as typed and valid so far, None while they are not. `pinned` leaves the other hosts out, `team` those
    that it may not use; at most `most` hosts answer one by one, the likely ones first."""
    if options is None:
        return Fit(problem="Mend the options first.")
    engine = engines.get(engine_name)
    try:
        facts = ModelFacts.from_json(artifact.facts)
    except ValueError:
        return Fit(problem="The file's header says too little for an estimate.")
    try:
        chosen = engine.Options.model_validate(options)
        hosts = hosts_for(team) if pinned is None else hosts_for(team).filter(pk=pinned.pk)
        pairs = _likely_ones(artifact, hosts, most)
        known: dict[_Kinds, placement.Demand] = {}
        judged = [_judge(pair, engine, facts, chosen, known) for pair in pairs]
        judged.sort(key=lambda one: (bool(one.why), not one.offer.has_artifact, one.host.name))
        places = [_place(one, engine, facts, chosen) for one in judged[:most]]
        others_fit = sum(not one.why for one in judged[len(places) :])
        # Without a host the terms are still worth knowing.
        terms = places[0].terms if places else tuple(engine.memory_terms(facts, chosen, HardwareGrant("cpu")))
    except ValueError as error:
        return Fit(problem=f"These options do not go together: {error}")
    return Fit(terms, tuple(places), others=hosts.count() - len(places), others_fit=others_fit)


def booked(terms: Iterable[Term]) -> placement.Need:
    """What placement books for these terms."""
    host_bytes = accelerator_bytes = 0
    for term in terms:
        if term.place == "gpu":
            accelerator_bytes += term.bytes
        else:
            host_bytes += term.bytes
    return placement.Need(int(host_bytes * MARGIN) + HEADROOM_BYTES, accelerator_bytes)


def candidates(
    artifact: Artifact, replicas_by_host: Mapping[int, int] | None = None, team: Team | None = None
) -> list[Candidate]:
    """Every host that the team may use, with what the planner must know of it; `replicas_by_host` counts the
    deployment's others."""
    return _candidates(artifact, hosts_for(team).for_list(), replicas_by_host or {})


def _likely_ones(artifact: Artifact, hosts: HostQuerySet, most: int | None) -> list[Candidate]:
    """The hosts that have the files, without which none takes it, and so many more that `most` can be shown."""
    there = artifact.copies.filter(state=CopyState.PRESENT).values("host")
    found = list(hosts.filter(pk__in=there).for_list())
    rest = hosts.exclude(pk__in=there).for_list()
    found += rest if most is None else rest[: max(0, most - len(found))]
    return _candidates(artifact, found, {})


def _candidates(artifact: Artifact, hosts: Iterable[Host], replicas_by_host: Mapping[int, int]) -> list[Candidate]:
    present = set(artifact.copies.filter(state=CopyState.PRESENT).values_list("host_id", flat=True))
    return [
        (
            host,
            placement.Host(
                id=host.pk,
                name=host.name,
                is_online=host.state == HostState.ONLINE,
                is_draining=host.is_drained,
                is_prepared=bool(host.engine_subnet),
                free_memory_bytes=host.free_bytes,
                free_disk_bytes=host.disk_free_bytes,
                cpu_flags=host.processor.flags,
                has_artifact=host.pk in present,
                replicas=replicas_by_host.get(host.pk, 0),
                accelerators=tuple(_card(card) for card in host.accelerators.all() if card.is_present),
            ),
        )
        for host in hosts
    ]


def demand(
    engine: Engine,
    facts: ModelFacts,
    options: EngineOptions,
    hosts: Sequence[placement.Host],
    pinned: int | None = None,
    own_image: bool = False,
) -> placement.Demand:
    """What one replica needs on each kind of hardware there is: accelerators first, then the CPU.

    Raises ValueError when the engine cannot say.
    """
    vendors = [*sorted({card.vendor for host in hosts for card in host.accelerators}), "cpu"]
    kinds = {(vendor, host.cpu_flags) for host in hosts for vendor in vendors}
    # What an image of somebody's own can run is theirs to know.
    unfit = {} if own_image else {kind: why for kind in kinds if (why := engine.why_not_on(kind[0], facts, kind[1]))}
    needs = {
        vendor: booked(engine.memory_terms(facts, options, HardwareGrant(cast(Vendor, vendor))))
        for vendor in vendors
        if own_image or engine.images(vendor)
    }
    return placement.Demand(needs, unfit, may_fetch=False, pinned_host=pinned, strategy="spread")


def why_on_no_hardware(
    artifact: Artifact, engine_name: str, pinned: Host | None = None, team: Team | None = None
) -> str:
    """Why no host that has the files, and that it may go to, can run them however much is free.

    Empty when one can, when that is not known, and when no host has them yet.
    """
    engine = engines.get(engine_name)
    try:
        facts = ModelFacts.from_json(artifact.facts)
    except ValueError:
        return ""
    there = artifact.copies.filter(state=CopyState.PRESENT).values("host")
    hosts = hosts_for(team).filter(pk__in=there)
    whys: dict[str, str] = {}
    for host in (hosts if pinned is None else hosts.filter(pk=pinned.pk)).for_list():
        whys[host.name] = why_not_by(engine, facts, host)
        if not whys[host.name]:
            return ""
    return " ".join(f"{name}: {why}" for name, why in whys.items())[:MOST_WHY]


def why_not_by(engine: Engine, facts: ModelFacts, host: Host) -> str:
    """Why neither the host's cards nor its processors can run it; empty when one can, as far as is known."""
    # A card that was not found today may be there tomorrow: placement looks again.
    kinds = [*dict.fromkeys(card.vendor for card in host.accelerators.all()), "cpu"]
    whys = [engine.why_not_on(kind, facts, host.processor.flags) for kind in kinds if engine.images(kind)]
    return " ".join(dict.fromkeys(whys)) if all(whys) else ""


def grant(host: Host, choice: placement.Choice, need: placement.Need) -> HardwareGrant:
    """The hardware that goes with a choice."""
    cpus = max(host.cpu_count, 1)
    return HardwareGrant(cast(Vendor, choice.vendor), choice.accelerator_ids, need.host_bytes, cpus)


def _card(card: Accelerator) -> placement.Accelerator:
    return placement.Accelerator(
        id=card.uuid,
        vendor=card.vendor,
        free_bytes=card.usable_bytes - card.booked_bytes,
        total_bytes=card.usable_bytes,
        name=card.name,
        compute_capability=card.compute_capability,
    )


@dataclass(frozen=True)
class _Judged:
    """What placement says of one host by itself."""

    host: Host
    offer: placement.Host
    wanted: placement.Demand
    decision: placement.Decision

    @property
    def why(self) -> str:
        return self.decision.reasons_by_host.get(self.offer.id, "")


def _judge(
    pair: Candidate,
    engine: Engine,
    facts: ModelFacts,
    options: EngineOptions,
    known: dict[_Kinds, placement.Demand],
) -> _Judged:
    """`known` keeps the demand on each mixture of hardware, which is the same for all hosts that have it."""
    host, offer = pair
    kinds = frozenset(card.vendor for card in offer.accelerators), offer.cpu_flags
    if kinds not in known:
        known[kinds] = demand(engine, facts, options, [offer])
    return _Judged(host, offer, known[kinds], placement.place(known[kinds], [offer]))


def _place(judged: _Judged, engine: Engine, facts: ModelFacts, options: EngineOptions) -> Place:
    host, wanted, why = judged.host, judged.wanted, judged.why
    choice = judged.decision.chosen or _likely(judged.offer, engine)
    hardware = grant(host, choice, wanted.needs.get(choice.vendor, placement.Need(0)))
    terms = tuple(engine.memory_terms(facts, options, hardware))
    stores = _stores(host, hardware, booked(terms))
    instead = _instead(engine, facts, options, hardware, stores) if why else ""
    return Place(host, terms, stores, why, instead)


def _likely(candidate: placement.Host, engine: Engine) -> placement.Choice:
    """What a replica would be given on a host that refused it: its emptiest card, else its CPUs."""
    cards = [card for card in candidate.accelerators if engine.images(card.vendor)]
    if not cards:
        return placement.Choice(candidate.id, "cpu")
    card = max(cards, key=lambda card: card.free_bytes)
    return placement.Choice(candidate.id, card.vendor, (card.id,))


def _instead(
    engine: Engine, facts: ModelFacts, options: EngineOptions, hardware: HardwareGrant, stores: tuple[Store, ...]
) -> str:
    """The planner's advice, when memory is what is missing and the engine has an estimate to vary."""
    estimate = getattr(engine, "estimate", None)
    if estimate is None or all(store.needed_bytes <= store.free_bytes for store in stores):
        return ""
    *cards, memory = stores
    room = Capacity(
        host_bytes=max(0, int((memory.free_bytes - HEADROOM_BYTES) / MARGIN)),
        gpu_bytes=max(0, cards[0].free_bytes) if cards else 0,
    )
    return fits(estimate(facts, options, hardware), room).suggestion


def _stores(host: Host, hardware: HardwareGrant, needed: placement.Need) -> tuple[Store, ...]:
    stores = [
        Store(
            f"GPU {card.index} ({card.name})",
            needed.gpu_bytes,
            card.usable_bytes - card.booked_bytes,
            card.usable_bytes,
        )
        for card in host.accelerators.all()
        if card.uuid in hardware.device_ids
    ]
    return (*stores, Store("Memory", needed.host_bytes, host.free_bytes, host.usable_bytes))
