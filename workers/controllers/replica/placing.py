"""Find a place for a replica: reserve what the one answer to "does it fit?" says is best."""

from webapp.accounts import ownership
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact
from webapp.control.steps import GO_ON, Pause
from webapp.deployments import fit, lifecycle, surge
from webapp.deployments.models import Replica
from webapp.foundation.errors import Conflict
from webapp.planner.memory import Term

NO_ROOM_AGAIN_S = 15.0
NO_ROOM_ADVICE = "Stop a deployment, add a host, or reduce context length or parallel requests."


def place(replica: Replica) -> Pause:
    """Reserve the best place. GO_ON when there was one, else seconds until another try; the reasons are on the row."""
    spec = replica.contents.spec
    deployment = replica.deployment
    if (why := forbidden(replica)) is not None:
        lifecycle.record_crash(replica, why, retry=False, counts=True, has_run=False)
        return None
    found = fit.answer(spec, deployment.team, fleet=surge.fleet_of(deployment, spec, but=replica))
    if found.problem:  # options or facts that the engine cannot work with: a person must change them
        why = lifecycle.Reason("bad_option", found.problem, "Change the deployment's options.")
        lifecycle.record_crash(replica, why, retry=False, counts=True, has_run=False)
        return None
    if found.best is None:
        _say_once(replica, f"No suitable host. {found.refusal}", found.advice or NO_ROOM_ADVICE)
        return NO_ROOM_AGAIN_S
    try:
        lifecycle.place(replica, _where(found.best))
    except Conflict as error:  # somebody else was faster, or the addresses are used up
        _say_once(replica, str(error), NO_ROOM_ADVICE)
        return 1.0
    return GO_ON


def forbidden(replica: Replica) -> lifecycle.Reason | None:
    """Why its team may not begin to run these files. What runs already is not asked."""
    artifact, team = replica.contents.artifact, replica.deployment.team
    if artifact is not None and (problem := catalog.why_no_launch(artifact)):
        return lifecycle.Reason("remote_code", problem, "Choose another model; GGUF files never need code.")
    if artifact is None or Artifact.objects.open_to([team]).filter(pk=artifact.pk).exists():
        return None
    advice = "Ask the team that owns the files to share them, or choose another model."
    return lifecycle.Reason("not_shared", ownership.why_not_usable(artifact, team), advice)


def _where(best: fit.Place) -> lifecycle.Place:
    hardware = best.hardware
    grant = {
        "vendor": hardware.vendor,
        "device_ids": list(hardware.device_ids),
        "memory_limit_bytes": hardware.memory_limit_bytes,
        "cpu_count": hardware.cpu_count,
    }
    terms = [_as_json(term) for term in best.terms]
    return lifecycle.Place(best.host, best.need.host_bytes, best.share_by_card, grant, terms)


def _as_json(term: Term) -> dict[str, object]:
    return {"name": term.name, "label": term.label, "bytes": term.bytes, "basis": term.basis, "place": term.place}


def _say_once(replica: Replica, text: str, advice: str) -> None:
    lifecycle.record_waiting(replica, lifecycle.Reason("no_room", text, advice))
