"""Would it fit? Named memory terms against every host, before anything is written down. Looks only: workers book."""

from dataclasses import dataclass
from typing import Any, cast

from webapp import engines
from webapp.catalog.models import Artifact, CopyState
from webapp.engines.base import Engine, EngineOptions, HardwareGrant, Vendor
from webapp.inventory.models import Accelerator, Host, HostState
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Term


@dataclass(frozen=True)
class Store:
    """One memory of a host: what the replica needs of it and what is free, in bytes."""

    name: str
    needed_bytes: int
    free_bytes: int
    usable_bytes: int

    @property
    def after_bytes(self) -> int:
        """What would be taken with one replica here."""
        return self.usable_bytes - self.free_bytes + self.needed_bytes

    @property
    def missing_bytes(self) -> int:
        return max(0, self.needed_bytes - self.free_bytes)


@dataclass(frozen=True)
class Place:
    """One host's answer: the memories it would use, and why it is not possible there."""

    host: Host
    terms: tuple[Term, ...]
    stores: tuple[Store, ...]
    reasons: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Fit:
    """What it takes, and where it would go. `problem` says why nothing could be calculated."""

    terms: tuple[Term, ...] = ()
    places: tuple[Place, ...] = ()
    problem: str = ""

    @property
    def total_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)


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
    except ValueError as error:
        return Fit(problem=f"These options do not go together: {error}")
    copies = set(artifact.copies.filter(state=CopyState.PRESENT).values_list("host_id", flat=True))
    hosts = [host for host in Host.objects.for_list() if pinned is None or host.pk == pinned.pk]
    places = [_place(host, engine, facts, chosen, host.pk in copies) for host in hosts]
    places.sort(key=lambda place: (not place.fits, place.host.name))
    # Without a host the terms are still worth knowing.
    terms = places[0].terms if places else tuple(engine.memory_terms(facts, chosen, HardwareGrant(vendor="cpu")))
    return Fit(terms, tuple(places))


def _place(host: Host, engine: Engine, facts: ModelFacts, options: EngineOptions, has_copy: bool) -> Place:
    cards = [card for card in host.accelerators.all() if card.is_present and engine.images(card.vendor)]
    card = max(cards, key=lambda card: card.usable_bytes - card.booked_bytes, default=None)
    terms = tuple(engine.memory_terms(facts, options, _grant(host, card)))
    stores = [_store("Memory", host, terms, "host")]
    if card is not None:
        stores.insert(0, _store(f"GPU {card.index} ({card.name})", card, terms, "gpu"))
    reasons = []
    if host.state != HostState.ONLINE:
        reasons.append("It does not answer.")
    if host.is_drained:
        reasons.append("It takes no new replicas (drained).")
    if not has_copy:
        reasons.append("The model's files are not on it.")
    reasons += [f"{store.name}: more is needed than is free." for store in stores if store.missing_bytes]
    return Place(host, terms, tuple(stores), tuple(reasons))


def _grant(host: Host, card: Accelerator | None) -> HardwareGrant:
    cpus = max(host.cpu_count, 1)
    if card is None:
        return HardwareGrant("cpu", (), host.usable_bytes, cpus)
    vendor = cast("Vendor", card.vendor)  # `images` has just known it
    return HardwareGrant(vendor, (card.uuid,), host.usable_bytes, cpus)


def _store(name: str, memory: Host | Accelerator, terms: tuple[Term, ...], place: str) -> Store:
    needed = sum(term.bytes for term in terms if term.place == place)
    return Store(name, needed, memory.usable_bytes - memory.booked_bytes, memory.usable_bytes)
