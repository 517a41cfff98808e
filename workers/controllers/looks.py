"""Looking at a host: what is there, and how long it has been silent."""

import contextlib
import logging
import time
from datetime import datetime

from django.utils import timezone

from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.inventory.states import HostState
from workers.hosts import connection
from workers.runtime.base import ContainerFacts, ContainerMissing, EngineFault, HostUnreachable, Runtime

logger = logging.getLogger(__name__)


class AnotherEngine(HostUnreachable):
    """Something answers at the host's address, but it is not the engine that holds our containers."""


class KnownSilent(HostUnreachable):
    """The host was not asked: its row says that it is silent, or said so when it was read."""


# A host that answers does so in milliseconds; only then is it asked what may take longer.
PING_S = 3
# An answer counts for so long.
FRESH_S = 5.0
_answered_at: dict[connection.HostConnection, float] = {}


def contact(host: Host) -> Runtime:
    """The runtime of a host that answers. Raises HostUnreachable: at once for one that is known to be silent, since
    only its probe asks that, and soon for one that falls silent now."""
    if host.state == HostState.UNREACHABLE:
        raise KnownSilent(host.reason)
    if time.monotonic() - _answered_at.get(connection.of(host), -FRESH_S) >= FRESH_S:
        ping(host)
    return connection.runtime(host)


def ping(host: Host) -> None:
    """Raises HostUnreachable unless the engine answers within PING_S seconds."""
    way = connection.of(host)
    way.runtime(PING_S).ping()
    _answered_at[way] = time.monotonic()


def containers(runtime: Runtime, host: Host, labels: dict[str, str], expected: str) -> list[ContainerFacts]:
    """The host's containers with these labels.

    When the expected container (an id, or "" for none) is not among them, the list counts only if it came from the
    engine that the host is known by, and that engine says of the container itself that it is not there. Raises
    HostUnreachable otherwise.
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
        with contextlib.suppress(ContainerMissing):
            found.append(runtime.inspect(expected))
    return found


def record_silence(host: Host, fault: HostUnreachable) -> float:
    """Write down that the host did not answer; seconds since it first did not, 0 when it answers again by now."""
    if isinstance(fault, EngineFault):
        logger.warning("%s answered, but could not: %s", host.name, fault)
    elif not isinstance(fault, KnownSilent):
        # What a row said when it was read is no news: its host may have come back since.
        inventory.record_lost(host.pk, str(fault))
    host.refresh_from_db()
    return silent_s(host, timezone.now())


def silent_s(host: Host, now: datetime) -> float:
    if host.lost_at is None or host.state == HostState.ONLINE:
        return 0.0
    return max(0.0, (now - host.lost_at).total_seconds())
