"""Is there room for a replica of other contents: beside all that runs, or in the place of one that runs? Looks only."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from webapp import engines
from webapp.catalog.models import Artifact
from webapp.deployments import fitting
from webapp.deployments.models import Deployment, Replica
from webapp.inventory.models import Booking, Host
from webapp.planner import placement
from webapp.planner.facts import ModelFacts


class Runnable(Protocol):
    """What can be placed: a deployment, a revision or Contents."""

    @property
    def artifact(self) -> Artifact: ...
    @property
    def engine(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def options(self) -> dict[str, object]: ...
    @property
    def host(self) -> Host | None: ...


def beside(deployment: Deployment, contents: Runnable) -> bool:
    """One more replica would find a place while everything that runs stays."""
    return _decide(deployment, contents)([]).chosen is not None


def refusal(deployment: Deployment, contents: Runnable) -> str:
    """Why it fits nowhere, even with one of the deployment's replicas gone; empty when it does."""
    decide = _decide(deployment, contents)
    decision = decide([])
    if decision.chosen is not None:
        return ""
    for replica in deployment.replicas.present().exclude(host=None):
        freed = list(Booking.objects.filter(holder=replica.holder))
        if decide(freed).chosen is not None:
            return ""
    names = dict(Host.objects.values_list("pk", "name"))
    return " ".join(f"{names.get(host, host)}: {why}" for host, why in decision.reasons_by_host.items()) or decision.why


Decide = Callable[[Sequence[Booking]], placement.Decision]


def _decide(deployment: Deployment, contents: Runnable) -> Decide:
    """Ask the planner with some bookings given back. What cannot be calculated is left to placement itself."""
    present = Replica.objects.present().filter(deployment=deployment).exclude(host=None)
    pairs = fitting.candidates(contents.artifact, Counter(present.values_list("host_id", flat=True)), deployment.team)
    offers = [offer for _host, offer in pairs]
    uuids = {card.pk: card.uuid for host, _offer in pairs for card in host.accelerators.all()}
    try:
        engine = engines.get(contents.engine)
        facts = ModelFacts.from_json(contents.artifact.facts)
        options = engine.Options.model_validate(contents.options)
        pinned = contents.host.pk if contents.host else None
        wanted = fitting.demand(engine, facts, options, offers, pinned, own_image=bool(contents.image))
    except ValueError:
        return lambda _freed: placement.Decision(placement.Choice(0, "cpu"), "")
    return lambda freed: placement.place(wanted, [_without(offer, freed, uuids) for offer in offers])


def _without(offer: placement.Host, freed: Sequence[Booking], uuids: dict[int, str]) -> placement.Host:
    """The host as it would be with these bookings given back."""
    mine = [booking for booking in freed if booking.host_id == offer.id]
    memory = sum(booking.size_bytes for booking in mine if booking.accelerator_id is None)
    cards = Counter[str]()
    for booking in mine:
        if booking.accelerator_id is not None:
            cards[uuids.get(booking.accelerator_id, "")] += booking.size_bytes
    return replace(
        offer,
        free_memory_bytes=offer.free_memory_bytes + memory,
        accelerators=tuple(replace(card, free_bytes=card.free_bytes + cards[card.id]) for card in offer.accelerators),
    )
