"""Find a place for a replica: the planner's choice among all hosts, and one booking."""

from collections import Counter

from webapp import engines
from webapp.control.steps import GO_ON, Pause
from webapp.deployments import fitting, lifecycle
from webapp.deployments.models import Replica
from webapp.engines.base import Engine, EngineOptions, HardwareGrant
from webapp.errors import Conflict
from webapp.inventory.models import Host
from webapp.planner import placement
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Term

NO_ROOM_AGAIN_S = 15.0


def place(replica: Replica) -> Pause:
    """Book the best place. GO_ON when there was one, else the seconds until another try; the reasons are on the row."""
    contents = replica.contents
    assert contents.artifact is not None
    deployment = replica.deployment
    others = deployment.replicas.exclude(pk=replica.pk).exclude(host=None)
    taken = Counter(others.values_list("host_id", flat=True))
    pairs = fitting.candidates(contents.artifact, taken, deployment.team)
    offers = [offer for _host, offer in pairs]
    try:
        demand = _demand(replica, offers)
    except ValueError as error:  # options or facts that the engine cannot work with: a person must change them
        why = lifecycle.Why("bad_option", str(error), "Change the deployment's options.")
        lifecycle.record_crash(replica, why, retry=False, counts=True)
        return None
    decision = placement.place(demand, offers)
    if decision.chosen is None:
        _say_once(replica, explain(decision, offers))
        return NO_ROOM_AGAIN_S
    host = next(host for host, _offer in pairs if host.pk == decision.chosen.host_id)
    try:
        lifecycle.place(replica, _where(replica, host, decision.chosen, demand.needs[decision.chosen.vendor]))
    except Conflict as error:  # somebody else was faster, or the addresses are used up
        _say_once(replica, str(error))
        return 1.0
    return GO_ON


def explain(decision: placement.Decision, offers: list[placement.Host]) -> str:
    """Why there is no place: every host's own reason."""
    reasons = [f"{offer.name}: {decision.reasons_by_host[offer.id]}" for offer in offers]
    return " ".join(["No host has room.", *reasons]) if reasons else decision.why


def _demand(replica: Replica, offers: list[placement.Host]) -> placement.Demand:
    engine, facts, options = _known(replica)
    contents = replica.contents
    return fitting.demand(engine, facts, options, offers, contents.host_id, own_image=bool(contents.image))


def _known(replica: Replica) -> tuple[Engine, ModelFacts, EngineOptions]:
    contents = replica.contents
    assert contents.artifact is not None
    engine = engines.get(contents.engine)
    return engine, ModelFacts.from_json(contents.artifact.facts), engine.Options.model_validate(contents.options)


def _where(replica: Replica, host: Host, choice: placement.Choice, need: placement.Need) -> lifecycle.Place:
    hardware = fitting.grant(host, choice, need)
    cards = {card.pk: need.gpu_bytes for card in host.accelerators.all() if card.uuid in choice.accelerator_ids}
    grant = {
        "vendor": hardware.vendor,
        "device_ids": list(hardware.device_ids),
        "memory_limit_bytes": hardware.memory_limit_bytes,
        "cpu_count": hardware.cpu_count,
    }
    terms = [_as_json(term) for term in _terms(replica, hardware)]
    return lifecycle.Place(host, need.host_bytes, cards, grant, terms)


def _terms(replica: Replica, hardware: HardwareGrant) -> list[Term]:
    engine, facts, options = _known(replica)
    return engine.memory_terms(facts, options, hardware)


def _as_json(term: Term) -> dict[str, object]:
    return {"name": term.name, "label": term.label, "bytes": term.bytes, "basis": term.basis, "place": term.place}


def _say_once(replica: Replica, text: str) -> None:
    lifecycle.record_waiting(replica, lifecycle.Why("no_room", text, "Stop something, add a host, or make it smaller."))
