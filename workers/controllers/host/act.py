"""Write down what was found on a host and prepare it for engines: the network, the volume, what nobody owns."""

import ipaddress
import logging
from collections.abc import Iterable

from django.utils import timezone

from webapp.control import lease
from webapp.control.steps import Pause
from webapp.deployments.models import Replica
from webapp.deployments.services import RECONCILE
from webapp.deployments.states import ReplicaState
from webapp.foundation import work_queue
from webapp.inventory import decide
from webapp.inventory import services as inventory
from webapp.inventory.models import NO_NETWORK, OPEN_FACT, Host
from workers.controllers.host import orphans, samplers
from workers.controllers.host.observe import Observed, view
from workers.hosts import connection
from workers.runtime import docker as docker_runtime
from workers.runtime.base import (
    ENGINE_NETWORK,
    LABEL_INSTALLATION,
    MODELS_VOLUME,
    EngineFault,
    HostUnreachable,
    Runtime,
    RuntimeFault,
)

logger = logging.getLogger(__name__)

# Private ranges that routers, clouds and Docker itself seldom use; a /24 has room for 250 engines.
CANDIDATES = tuple(f"{prefix}.{third}.0/24" for prefix in ("10.231", "172.29", "192.168") for third in range(230, 250))


def carry_out(step: tuple[decide.Step, Observed], host: Host) -> Pause:
    """Do it; the seconds until the next look."""
    chosen, observed = step
    if isinstance(chosen, decide.Lose):
        inventory.record_lost(host.pk, chosen.why)
    elif isinstance(chosen, decide.Record) and observed.facts is not None:
        _record(host, observed.facts, chosen.is_back)
    lease.refresh(host)
    return decide.again_s(view(host), timezone.now())


def _record(host: Host, facts: inventory.HostFacts, is_back: bool) -> None:
    """Another engine's facts are refused; a host that falls silent on the way is written down as lost, and what an
    engine that answers could not do is written down, too."""
    runtime = connection.runtime(host)
    try:
        if not inventory.record_facts(host.pk, facts):
            return
        prepare(runtime, Host.objects.get(pk=host.pk))
        samplers.ensure(runtime, Host.objects.get(pk=host.pk), str(inventory.installation().pk))
        orphans.clean_up(host.pk)
        orphans.clean_up_sockets()
    except RuntimeFault as fault:
        if isinstance(fault, HostUnreachable) and not isinstance(fault, EngineFault):
            inventory.record_lost(host.pk, str(fault))
            return
        logger.warning("%s could not be looked after: %s", host.name, fault)
        inventory.record_degraded(host.pk, str(fault) or type(fault).__name__)
    else:
        inventory.record_degraded(host.pk, "")
    if is_back:
        wake_replicas(host.pk)


def prepare(runtime: Runtime, host: Host) -> None:
    """The volume that engines need, and an internal network where they cannot do without; recorded when they change."""
    labels = {LABEL_INSTALLATION: str(inventory.installation().pk)}
    runtime.ensure_volume(MODELS_VOLUME, labels)
    if host.facts.get(OPEN_FACT) == "":
        _isolate(runtime, host)
        return
    others = Host.objects.exclude(pk=host.pk).exclude(engine_subnet="").values_list("engine_subnet", flat=True)
    wanted = (host.engine_subnet,) if host.engine_subnet else free_subnets(others)
    subnet = runtime.ensure_network(ENGINE_NETWORK, tuple(wanted), labels)
    inventory.record_engine_network(host.pk, ENGINE_NETWORK, subnet)


def _isolate(runtime: Runtime, host: Host) -> None:
    """The network of before goes with the last engine that was started in it."""
    subnet = host.engine_subnet
    if subnet and not inventory.has_addresses(host.pk) and runtime.remove_network(ENGINE_NETWORK):
        subnet = ""
    inventory.record_engine_network(host.pk, NO_NETWORK, subnet)


def free_subnets(taken: Iterable[str]) -> tuple[str, ...]:
    """Candidates that overlap neither other hosts' engine networks nor what this machine routes already.

    Docker compares a new network with its own networks only.
    """
    avoid = [ipaddress.IPv4Network(text) for text in taken] + docker_runtime.routed_subnets()
    return tuple(text for text in CANDIDATES if not any(ipaddress.IPv4Network(text).overlaps(other) for other in avoid))


def wake_replicas(host_id: int) -> None:
    """The host is back: have its replicas looked at now rather than at the next sweep."""
    for replica_id in Replica.objects.on_host(host_id).exclude(state=ReplicaState.STOPPED).values_list("pk", flat=True):
        work_queue.send(RECONCILE, replica_id)
