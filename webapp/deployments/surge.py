"""Is there memory for a replica of another spec: beside all that runs, or in the place of one that runs? Looks only."""

from collections import Counter

from webapp.deployments import fit
from webapp.deployments.fleet import Fleet
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.spec import RevisionSpec
from webapp.inventory.models import Reservation


def beside(deployment: Deployment, spec: RevisionSpec) -> bool:
    """One more replica would find a place while everything that runs stays."""
    return _would_go(fit.answer(spec, deployment.team, fleet=fleet_of(deployment, spec)))


def refusal(deployment: Deployment, spec: RevisionSpec) -> str:
    """Why it fits nowhere, even with one of the deployment's replicas gone; empty when it does."""
    fleet = fleet_of(deployment, spec)
    found = fit.answer(spec, deployment.team, fleet=fleet)
    if _would_go(found):
        return ""
    for replica in deployment.replicas.present().exclude(host=None):
        freed = list(Reservation.objects.filter(owner=replica.reservation_owner))
        if fit.answer(spec, deployment.team, fleet=fleet.without(freed)).best is not None:
            return ""
    # Reasons of many hosts are cut short.
    return f"{found.advice} {found.refusal}".strip()


def fleet_of(deployment: Deployment, spec: RevisionSpec, but: Replica | None = None) -> Fleet:
    """The hosts that the deployment may use, with its replicas on them, `but` this one."""
    others = Replica.objects.present().filter(deployment=deployment).exclude(host=None)
    if but is not None:
        others = others.exclude(pk=but.pk)
    taken = Counter(others.values_list("host_id", flat=True))
    return Fleet.for_files(spec.artifact, spec.host, deployment.team, taken)


def _would_go(found: fit.Fit) -> bool:
    """What cannot be calculated is left to placement itself."""
    return bool(found.problem) or found.best is not None
