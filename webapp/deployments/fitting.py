"""Would it fit? The placement's own answer for every host, with the terms behind it, before anything is written down.

Looks only: workers book.
"""

from dataclasses import dataclass
from typing import Any, cast

from webapp import engines
from webapp.catalog.models import Artifact, CopyState
from webapp.deployments import placement
from webapp.engines.base import Engine, EngineOptions, HardwareGrant, Vendor
from webapp.inventory.models import Host, HostState
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Capacity, Term, fits

MIB = 1024**2
# An estimate is not a promise: engines get a quarter more host memory, and some on top, before the kernel ends them.
MARGIN = 1.25
HEADROOM_BYTES = 256 * MIB


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

    @property
    def total_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)

    @property
    def booked_bytes(self) -> int:
        """What placement books, in all memories together."""
        needed = booked(self.terms)
        return needed.host_bytes + needed.accelerator_bytes

    @property
    def reserve_bytes(self) -> int:
        """What is booked beyond the terms."""
        return self.booked_bytes - self.total_bytes


def fit(artifact: Artifact, engine_name: str, options: dict[str, Any] | None, pinned: Host | None = None) -> Fit:
    """`options` as typed and valid so far, None while they are not. `pinned` leaves the other hosts out."""
    if options is None:
        return Fit(problem="Mend the options first.")
    engine = engines.get(engine_name)
    try:
        facts = ModelFacts.from_json(artifact.facts)
    except ValueError:
        return Fit(problem="The file's header says too little for an estimate.")
    try:
        chosen = engine.Options.model_validate(options)
        places = [_place(*pair, engine, facts, chosen) for pair in _offers(artifact, pinned)]
        places.sort(key=lambda place: (not place.fits, place.host.name))
        # Without a host the terms are still worth knowing.
        terms = places[0].terms if places else tuple(engine.memory_terms(facts, chosen, HardwareGrant("cpu")))
    except ValueError as error:
        return Fit(problem=f"These options do not go together: {error}")
    return Fit(terms, tuple(places))


def booked(terms: tuple[Term, ...]) -> placement.Demand:
    """What placement books for these terms."""
    host_bytes = sum(term.bytes for term in terms if term.place == "host")
    accelerator_bytes = sum(term.bytes for term in terms if term.place == "gpu")
    return placement.Demand(int(host_bytes * MARGIN) + HEADROOM_BYTES, accelerator_bytes)


def _offers(artifact: Artifact, pinned: Host | None) -> list[tuple[Host, placement.HostOffer]]:
    """Every host, or the pinned one, as placement sees it."""
    copies = set(artifact.copies.filter(state=CopyState.PRESENT).values_list("host_id", flat=True))
    return [
        (
            host,
            placement.HostOffer(
                id=host.pk,
                name=host.name,
                free_bytes=host.free_bytes,
                usable_bytes=host.usable_bytes,
                cpu_count=host.cpu_count,
                is_online=host.state == HostState.ONLINE,
                is_drained=host.is_drained,
                is_prepared=bool(host.engine_subnet),
                has_copy=host.pk in copies,
                accelerators=tuple(
                    placement.AcceleratorOffer(card.pk, card.uuid, card.vendor, card.usable_bytes - card.booked_bytes)
                    for card in host.accelerators.all()
                    if card.is_present
                ),
            ),
        )
        for host in Host.objects.for_list()
        if pinned is None or host.pk == pinned.pk
    ]


def _place(host: Host, offer: placement.HostOffer, engine: Engine, facts: ModelFacts, options: EngineOptions) -> Place:
    def terms_on(hardware: HardwareGrant) -> tuple[Term, ...]:
        return tuple(engine.memory_terms(facts, options, hardware))

    def demand(hardware: HardwareGrant) -> placement.Demand | None:
        return booked(terms_on(hardware)) if engine.images(hardware.vendor) else None

    choice, refusals = placement.choose([offer], demand)
    if choice is not None:
        hardware = HardwareGrant(
            cast(Vendor, choice.vendor), choice.device_ids, offer.usable_bytes, max(offer.cpu_count, 1)
        )
    else:
        hardware = _likely(offer, engine)
    terms = terms_on(hardware)
    stores = _stores(host, hardware, booked(terms))
    if choice is not None:
        return Place(host, terms, stores, "")
    return Place(host, terms, stores, refusals[0].why, _instead(engine, facts, options, hardware, stores))


def _likely(offer: placement.HostOffer, engine: Engine) -> HardwareGrant:
    """What a replica would be given on a host that refused it: its emptiest card, else its CPUs."""
    cpus = max(offer.cpu_count, 1)
    cards = [card for card in offer.accelerators if engine.images(card.vendor)]
    if not cards:
        return HardwareGrant("cpu", (), offer.usable_bytes, cpus)
    card = max(cards, key=lambda card: card.free_bytes)
    return HardwareGrant(cast(Vendor, card.vendor), (card.uuid,), offer.usable_bytes, cpus)


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


def _stores(host: Host, hardware: HardwareGrant, needed: placement.Demand) -> tuple[Store, ...]:
    stores = [
        Store(
            f"GPU {card.index} ({card.name})",
            needed.accelerator_bytes,
            card.usable_bytes - card.booked_bytes,
            card.usable_bytes,
        )
        for card in host.accelerators.all()
        if card.uuid in hardware.device_ids
    ]
    return (*stores, Store("Memory", needed.host_bytes, host.free_bytes, host.usable_bytes))
