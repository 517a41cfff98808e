"""Find a place for a replica: offers out of the database, the engine's own estimate, one booking."""

from webapp import engines
from webapp.catalog.models import ArtifactCopy, CopyState
from webapp.deployments import lifecycle, placement
from webapp.deployments.models import Replica
from webapp.engines.base import HardwareGrant
from webapp.errors import Conflict
from webapp.inventory.models import Host, HostState
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Term
from workers.tasks.pauses import GO_ON, Pause

NO_ROOM_AGAIN_S = 15.0
MIB = 1024**2
# An estimate is not a promise: engines get a quarter more before the kernel ends them.
MARGIN = 1.25
HEADROOM_BYTES = 256 * MIB


def place(replica: Replica) -> Pause:
    """Book the best place. GO_ON when there was one, else the seconds until another try; the reasons are on the row."""
    try:
        choice, refusals = placement.choose(offers(replica), _estimator(replica), replica.deployment.host_id)
    except ValueError as error:  # options or facts that the engine cannot work with: a person must change them
        why = lifecycle.Why("bad_option", str(error), "Change the deployment's options.")
        lifecycle.record_crash(replica, why, retry=False, counts=True)
        return None
    if choice is None:
        text = placement.explain(refusals)
        _say_once(replica, text)
        return NO_ROOM_AGAIN_S
    host = Host.objects.get(pk=choice.host_id)
    grant = {
        "vendor": choice.vendor,
        "device_ids": list(choice.device_ids),
        "memory_limit_bytes": choice.host_bytes,
        "cpu_count": host.cpu_count,
    }
    terms = estimate(replica, _hardware(grant))
    where = lifecycle.Place(
        host, choice.host_bytes, dict(choice.accelerators), grant, [_as_json(term) for term in terms]
    )
    try:
        lifecycle.place(replica, where)
    except Conflict as error:  # somebody else was faster, or the addresses are used up
        _say_once(replica, str(error))
        return 1.0
    return GO_ON


def offers(replica: Replica) -> list[placement.HostOffer]:
    """Every host as placement sees it."""
    artifact_id = replica.deployment.artifact_id
    present = ArtifactCopy.objects.filter(artifact_id=artifact_id, state=CopyState.PRESENT)
    with_copy = set(present.values_list("host_id", flat=True))
    siblings = list(replica.deployment.replicas.exclude(pk=replica.pk).values_list("host_id", flat=True))
    return [
        placement.HostOffer(
            id=host.pk,
            name=host.name,
            free_bytes=host.free_bytes,
            usable_bytes=host.usable_bytes,
            cpu_count=host.cpu_count,
            is_online=host.state == HostState.ONLINE,
            is_drained=host.is_drained,
            is_prepared=bool(host.engine_subnet),
            has_copy=host.pk in with_copy,
            replicas_here=siblings.count(host.pk),
            accelerators=tuple(
                placement.AcceleratorOffer(card.pk, card.uuid, card.vendor, card.usable_bytes - card.booked_bytes)
                for card in host.accelerators.all()
                if card.is_present
            ),
        )
        for host in Host.objects.for_list()
    ]


def estimate(replica: Replica, hardware: HardwareGrant) -> list[Term]:
    """The memory that the engine will take, term by term. Raises ValueError when it cannot say."""
    engine = engines.get(replica.deployment.engine)
    facts = ModelFacts.from_json(replica.deployment.artifact.facts)
    options = engine.Options.model_validate(replica.deployment.options)
    return engine.memory_terms(facts, options, hardware)


def _estimator(replica: Replica) -> placement.Estimator:
    engine = engines.get(replica.deployment.engine)

    def demand(hardware: HardwareGrant) -> placement.Demand | None:
        if not replica.deployment.image and not engine.images(hardware.vendor):
            return None
        terms = estimate(replica, hardware)
        host_bytes = sum(term.bytes for term in terms if term.place == "host")
        accelerator_bytes = sum(term.bytes for term in terms if term.place == "gpu")
        return placement.Demand(int(host_bytes * MARGIN) + HEADROOM_BYTES, accelerator_bytes)

    return demand


def _hardware(grant: dict[str, object]) -> HardwareGrant:
    return HardwareGrant(**grant)  # type: ignore[arg-type]


def _as_json(term: Term) -> dict[str, object]:
    return {"name": term.name, "label": term.label, "bytes": term.bytes, "basis": term.basis, "place": term.place}


def _say_once(replica: Replica, text: str) -> None:
    lifecycle.record_waiting(replica, lifecycle.Why("no_room", text, "Stop something, add a host, or make it smaller."))
