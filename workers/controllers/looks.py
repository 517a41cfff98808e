"""Looking at a host: what is there, and how long it has been silent."""

import contextlib
from datetime import datetime

from django.utils import timezone

from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.inventory.states import HostState
from workers.runtime import docker as docker_runtime
from workers.runtime.base import ContainerFacts, ContainerMissing, HostUnreachable, Runtime


class AnotherEngine(HostUnreachable):
    """Something answers at the host's address, but it is not the engine that holds our containers."""


def contact(host: Host) -> Runtime:
    """The runtime of a host."""
    return docker_runtime.connect(host.endpoint)


def containers(runtime: Runtime, host: Host, labels: dict[str, str], expected: str) -> list[ContainerFacts]:
    """The host's containers with these labels.

    When the expected container (an id, or "" for none) is not among them, the list counts only if it came from the
    engine that the host is known by. Raises HostUnreachable otherwise.
    """
    found = []
    for listed in runtime.list(labels):
        # Docker's list is a copy that trails its events by some milliseconds; only inspect knows the state of now.
        with contextlib.suppress(ContainerMissing):
            found.append(runtime.inspect(listed.id))
    if expected and all(container.id != expected for container in found):
        identity = runtime.identity()
        if host.daemon_id and identity != host.daemon_id:
            raise AnotherEngine("Another Docker engine answers at this address.")
    record_answer(host)
    return found


def record_answer(host: Host) -> None:
    if host.state == HostState.UNREACHABLE:
        inventory.record_answer(host.pk)


def record_silence(host: Host, fault: HostUnreachable) -> float:
    """Write down that the host did not answer; seconds since it first did not."""
    inventory.record_lost(host.pk, str(fault))
    host.refresh_from_db()
    return silent_s(host, timezone.now())


def silent_s(host: Host, now: datetime) -> float:
    if host.lost_at is None:
        return 0.0
    return max(0.0, (now - host.lost_at).total_seconds())
