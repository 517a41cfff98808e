"""A look at a host: its facts, or its silence."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from webapp.control.steps import Wait
from webapp.inventory import decide
from webapp.inventory import services as inventory
from webapp.inventory.decide import View
from webapp.inventory.models import PROCESSOR_FACT, Host
from webapp.inventory.states import HostState
from webapp.quantisation import recipes
from workers.controllers import looks
from workers.controllers.host import accelerators, processors
from workers.hosts import connection, sockets
from workers.runtime import docker as docker_runtime
from workers.runtime.base import HostUnreachable, Runtime

ACCELERATORS_EVERY_S = 600
KEPT_INFO = (
    "ServerVersion", "OperatingSystem", "OSVersion", "KernelVersion", "Architecture", "Driver", "CgroupVersion",
    "LiveRestoreEnabled", "DefaultRuntime", "DockerRootDir", "SecurityOptions", "Warnings",
)  # fmt: skip


@dataclass(frozen=True)
class Observed:
    """The facts of a host that answers; what `decide` needs beside them."""

    facts: inventory.HostFacts | None
    seen: decide.Observed


def step(host: Host, observed: Observed) -> tuple[decide.Step, Observed] | Wait:
    """What comes next."""
    chosen = decide.decide(view(host), observed.seen)
    return chosen if isinstance(chosen, Wait) else (chosen, observed)


def view(host: Host) -> View:
    """The row as `decide` sees it."""
    return View(HostState(host.state), host.lost_at)


def look(host: Host) -> Observed:
    """Ask the host what is on it; of those that are silent, one at a time."""
    if host.state == HostState.UNREACHABLE and _another_is_asked(host):
        return Observed(None, decide.Observed(waits_its_turn=True))
    try:
        looks.ping(host)
        return Observed(read_facts(connection.runtime(host), host), decide.Observed())
    except HostUnreachable as fault:
        return Observed(None, decide.Observed(str(fault) or "no answer"))


def _another_is_asked(host: Host) -> bool:
    """Whether a silent host was claimed before this one and is still held: whoever came first asks."""
    held = Host.objects.filter(state=HostState.UNREACHABLE, lease_until__gt=Now()).exclude(pk=host.pk)
    earlier = Q(lease_until__lt=host.lease_until) | Q(lease_until=host.lease_until, pk__lt=host.pk)
    return held.filter(earlier).exists()


def read_facts(runtime: Runtime, host: Host) -> inventory.HostFacts:
    """What Docker says of the machine; disk sizes only where Docker's folder is on this machine.

    GPUs and processors are asked for when the host is new or comes back, and every ACCELERATORS_EVERY_S: a driver takes
    its time.
    """
    info = runtime.info()
    root = Path(str(info.get("DockerRootDir") or "/nowhere"))
    total, _used, free = shutil.disk_usage(root) if _is_local(host, root) else (0, 0, 0)
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
    facts |= sockets.find(runtime, host, info, installation, is_due)
    return inventory.HostFacts(
        daemon_id=docker_runtime.identity_of(info),
        cpu_count=int(info.get("NCPU") or 0),
        memory_bytes=int(info.get("MemTotal") or 0),
        disk_total_bytes=total,
        disk_free_bytes=free,
        facts=facts,
        accelerators=accelerators.find(runtime, info, installation) if is_due else None,
    )


def _is_local(host: Host, root: Path) -> bool:
    return connection.of(host).is_local_socket and root.is_dir()
