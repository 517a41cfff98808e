"""Read what is on a host and prepare it: facts, the engine network, the models volume."""

import ipaddress
import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from webapp import queue
from webapp.deployments.models import Replica
from webapp.deployments.services import RECONCILE
from webapp.deployments.states import ReplicaState
from webapp.inventory import services as inventory
from webapp.inventory.models import PROCESSOR_FACT, Host, HostState
from webapp.quantisation import recipes
from workers.controllers.host import accelerators, orphans, processors, samplers
from workers.runtime import docker as docker_runtime
from workers.runtime.base import (
    ENGINE_NETWORK,
    LABEL_INSTALLATION,
    MODELS_VOLUME,
    HostUnreachable,
    Runtime,
    RuntimeFault,
)

logger = logging.getLogger(__name__)

# Private ranges that routers, clouds and Docker itself seldom use; a /24 has room for 250 engines.
CANDIDATES = tuple(f"{prefix}.{third}.0/24" for prefix in ("10.231", "172.29", "192.168") for third in range(230, 250))
ACCELERATORS_EVERY_S = 600
KEPT_INFO = (
    "ServerVersion", "OperatingSystem", "OSVersion", "KernelVersion", "Architecture", "Driver", "CgroupVersion",
    "LiveRestoreEnabled", "DefaultRuntime", "DockerRootDir", "SecurityOptions", "Warnings",
)  # fmt: skip


def probe(host_id: int) -> None:
    """Record what is on the host, or that it does not answer."""
    host = Host.objects.filter(pk=host_id).first()
    if host is None:
        return
    runtime = docker_runtime.connect(host.endpoint)
    try:
        facts = read_facts(runtime, host)
        if not inventory.record_facts(host.pk, facts):
            return
        prepare(runtime, host)
        samplers.ensure(runtime, Host.objects.get(pk=host.pk), str(inventory.installation().pk))
        orphans.clean_up(host.pk)
    except HostUnreachable as fault:
        inventory.record_lost(host.pk, str(fault))
        return
    except RuntimeFault as fault:
        logger.warning("%s could not be prepared for engines: %s", host.name, fault)
        return
    if host.state != HostState.ONLINE:
        wake_replicas(host.pk)


def read_facts(runtime: Runtime, host: Host) -> inventory.HostFacts:
    """What Docker says of the machine; disk sizes only where Docker's folder is on this machine.

    GPUs and processors are asked for when the host is new or comes back, and every ACCELERATORS_EVERY_S: a driver takes
    its time.
    """
    info = runtime.info()
    root = Path(str(info.get("DockerRootDir") or "/nowhere"))
    total, _used, free = shutil.disk_usage(root) if _is_local(runtime, root) else (0, 0, 0)
    facts: dict[str, Any] = {name: info[name] for name in KEPT_INFO if name in info}
    facts[recipes.IMAGES_FACT] = [image for image in recipes.IMAGES if runtime.find_image(image)]
    facts["runtimes"] = sorted((info.get("Runtimes") or {}).keys())
    asked_at = float(host.facts.get("accelerators_at", 0))
    is_due = host.state != HostState.ONLINE or time.time() - asked_at > ACCELERATORS_EVERY_S
    facts["accelerators_at"] = time.time() if is_due else asked_at
    installation = str(inventory.installation().pk)
    known = host.facts.get(PROCESSOR_FACT) if host.daemon_id == docker_runtime.identity_of(info) else None
    read = processors.find(runtime, installation) if is_due or known is None else None
    if read or known:
        facts[PROCESSOR_FACT] = read or known
    return inventory.HostFacts(
        daemon_id=docker_runtime.identity_of(info),
        cpu_count=int(info.get("NCPU") or 0),
        memory_bytes=int(info.get("MemTotal") or 0),
        disk_total_bytes=total,
        disk_free_bytes=free,
        facts=facts,
        accelerators=accelerators.find(runtime, info, installation) if is_due else None,
    )


def _is_local(runtime: Runtime, root: Path) -> bool:
    return getattr(runtime, "endpoint", "").startswith("unix://") and root.is_dir()


def prepare(runtime: Runtime, host: Host) -> None:
    """The internal network and the volume that engines need; made once, recorded when they change."""
    labels = {LABEL_INSTALLATION: str(inventory.installation().pk)}
    runtime.ensure_volume(MODELS_VOLUME, labels)
    others = Host.objects.exclude(pk=host.pk).exclude(engine_subnet="").values_list("engine_subnet", flat=True)
    wanted = (host.engine_subnet,) if host.engine_subnet else free_subnets(others)
    subnet = runtime.ensure_network(ENGINE_NETWORK, tuple(wanted), labels)
    if (host.engine_network, host.engine_subnet) != (ENGINE_NETWORK, subnet):
        inventory.record_engine_network(host.pk, ENGINE_NETWORK, subnet)


def free_subnets(taken: Iterable[str]) -> tuple[str, ...]:
    """Candidates that overlap neither other hosts' engine networks nor what this machine routes already.

    Docker compares a new network with its own networks only.
    """
    avoid = [ipaddress.IPv4Network(text) for text in taken] + docker_runtime.routed_subnets()
    return tuple(text for text in CANDIDATES if not any(ipaddress.IPv4Network(text).overlaps(other) for other in avoid))


def wake_replicas(host_id: int) -> None:
    """The host is back: have its replicas looked at now rather than at the next sweep."""
    for replica_id in Replica.objects.on_host(host_id).exclude(state=ReplicaState.STOPPED).values_list("pk", flat=True):
        queue.send(RECONCILE, replica_id)
