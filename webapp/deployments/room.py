"""Is there room for a replica of other contents: beside all that runs, or in the place of one that runs? Looks only."""

from collections import Counter

from webapp.deployments import fit
from webapp.deployments.fleet import Fleet
from webapp.deployments.models import Deployment, Replica
from webapp.inventory.models import Booking


def beside(deployment: Deployment, contents: fit.Runnable) -> bool:
    """One more replica would find a place while everything that runs stays."""
    return _would_go(fit.answer(contents, fleet=fleet_of(deployment, contents)))


def refusal(deployment: Deployment, contents: fit.Runnable) -> str:
    """Why it fits nowhere, even with one of the deployment's replicas gone; empty when it does."""
    fleet = fleet_of(deployment, contents)
    found = fit.answer(contents, fleet=fleet)
    if _would_go(found):
        return ""
    for replica in deployment.replicas.present().exclude(host=None):
        freed = list(Booking.objects.filter(holder=replica.holder))
        if fit.answer(contents, fleet=fleet.without(freed)).best is not None:
            return ""
    return found.refusal


def fleet_of(deployment: Deployment, contents: fit.Runnable, but: Replica | None = None) -> Fleet:
    """The hosts that the deployment may use, with its replicas on them, `but` this one."""
    others = Replica.objects.present().filter(deployment=deployment).exclude(host=None)
    if but is not None:
        others = others.exclude(pk=but.pk)
    taken = Counter(others.values_list("host_id", flat=True))
    return Fleet.for_files(contents.artifact, contents.host, deployment.team, taken)


def _would_go(found: fit.Fit) -> bool:
    """What cannot be calculated is left to placement itself."""
    return bool(found.problem) or found.best is not None
