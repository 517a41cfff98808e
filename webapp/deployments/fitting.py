"""Would it fit? Named memory terms against every host, before anything is written down."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from webapp import engines
from webapp.catalog.models import Artifact
from webapp.engines.base import HardwareGrant
from webapp.inventory.models import Host, HostState
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Term


@dataclass(frozen=True)
class Place:
    """One host's answer. Bytes are of the memory the model would live in: `what` says which."""

    host: Host
    what: str
    needed_bytes: int
    free_bytes: int
    usable_bytes: int
    terms: tuple[Term, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def after_bytes(self) -> int:
        """What would be taken with one replica here."""
        return self.usable_bytes - self.free_bytes + self.needed_bytes

    @property
    def fits(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Fit:
    """What it takes, and where it would go. `problem` says why nothing could be calculated."""

    terms: tuple[Term, ...] = ()
    total_bytes: int = 0
    places: tuple[Place, ...] = ()
    problem: str = ""

    @property
    def has_room(self) -> bool:
        return any(place.fits for place in self.places)


def fit(artifact: Artifact, engine_name: str, options: dict[str, Any] | None, pinned: Host | None = None) -> Fit:
    """`options` as typed and valid so far, None while they are not. Looks only; booking is the workers' business."""
    if options is None:
        return Fit(problem="Mend the options first.")
    engine = engines.get(engine_name)
    try:
        facts = ModelFacts.from_json(artifact.facts)
        chosen = engine.Options.model_validate(options)
    except (ValueError, ValidationError):
        return Fit(problem="The file's header says too little for an estimate.")
    copies = {copy.host_id for copy in artifact.copies.all() if copy.state == "present"}
    places = []
    for host in Host.objects.for_list():
        if pinned is not None and host.pk != pinned.pk:
            continue
        places.append(_place(host, engine, facts, chosen, host.pk in copies))
    places.sort(key=lambda place: (not place.fits, place.host.name))
    terms = places[0].terms if places else ()
    return Fit(terms, sum(term.bytes for term in terms), tuple(places))


def _place(host: Host, engine: Any, facts: ModelFacts, options: Any, has_copy: bool) -> Place:
    cards = [card for card in host.accelerators.all() if card.is_present and engine.images(card.vendor)]
    best = max(cards, key=lambda card: card.usable_bytes - card.booked_bytes, default=None)
    if best is not None:
        what, usable, booked = best.name, best.usable_bytes, best.booked_bytes
        grant = HardwareGrant(vendor=best.vendor, device_ids=(best.uuid,), cpu_count=host.cpu_count or 1)
    else:
        what, usable, booked = "memory", host.usable_bytes, host.booked_bytes
        grant = HardwareGrant(vendor="cpu", cpu_count=host.cpu_count or 1)
    terms = tuple(engine.memory_terms(facts, options, grant))
    needed, free = sum(term.bytes for term in terms), usable - booked
    reasons = []
    if host.state != HostState.ONLINE:
        reasons.append(f"The host is {host.state}.")
    if host.is_drained:
        reasons.append("The host is drained.")
    if not has_copy:
        reasons.append("The files are not on this host yet.")
    if needed > free:
        reasons.append("Not enough free memory.")
    return Place(host, what, needed, free, usable, terms, tuple(reasons))
