"""Containers with our label that no row knows: removed after a while, and only when nothing speaks against it."""

import logging
import time

from django.utils import timezone

from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.inventory.states import HostState
from webapp.jobs.models import Job
from webapp.jobs.states import ENDED
from workers.controllers.replica import ways_in
from workers.hosts import connection, sockets
from workers.runtime.base import LABEL_INSTALLATION, ContainerFacts, ContainerMissing, EngineFault, Runtime

logger = logging.getLogger(__name__)

ORPHAN_AFTER_S = 300


class Untrusted(EngineFault):
    """What the engine lists says nothing of what may be removed; the text says why."""


def clean_up(host_id: int) -> int:
    """Remove the orphans of one host; how many there were. None are looked for while the installation is on hold.

    Raises HostUnreachable, Untrusted among them; DatabaseError when the database does not answer: then nothing has
    been removed.
    """
    installation = inventory.installation()
    host = Host.objects.filter(pk=host_id, state=HostState.ONLINE).exclude(daemon_id="").first()
    if installation.is_on_hold or host is None:
        return 0
    return _clean_host(host, str(installation.pk))


def _clean_host(host: Host, installation: str) -> int:
    runtime = connection.runtime(host)
    if (other := inventory.sharing_engine(host)) is not None:
        raise Untrusted(
            f"Its Docker engine is another host's, too (host {other.pk}): what is left over there is not removed, "
            "because each of the two knows nothing of the other's containers."
        )
    found = runtime.list({LABEL_INSTALLATION: installation})
    _check_list(runtime, host, found)
    suspects = [container for container in found if not is_known(container, host)]
    if not suspects or runtime.identity() != host.daemon_id:
        return 0
    return sum(_remove_if_still_unknown(runtime, host, suspect, installation) for suspect in suspects)


def _check_list(runtime: Runtime, host: Host, found: list[ContainerFacts]) -> None:
    """Raises Untrusted when it lacks a container that serves and is there: an engine that forgets one when asked for
    all of them may as well have its labels wrong."""
    listed = {container.id for container in found}
    serving = Replica.objects.filter(host=host, state=ReplicaState.READY).exclude(container_id="")
    for container_id in serving.values_list("container_id", flat=True):
        if container_id in listed:
            continue
        try:
            runtime.inspect(container_id)
        except ContainerMissing:
            continue  # gone indeed: its replica's next look will find that
        # By its id: who sees the host may not be meant to learn whose deployment that is.
        raise Untrusted(
            f"Docker's list lacks the container {container_id[:12]}, which serves. Nothing is removed by it."
        )


def _remove_if_still_unknown(runtime: Runtime, host: Host, suspect: ContainerFacts, installation: str) -> bool:
    """Ask Docker and the database once more about this one, then remove it."""
    try:
        container = runtime.inspect(suspect.id)
    except ContainerMissing:
        return False
    age_from = container.finished_at or container.started_at or container.created_at
    too_young = age_from is None or (timezone.now() - age_from).total_seconds() < ORPHAN_AFTER_S
    if too_young or container.labels.get(LABEL_INSTALLATION) != installation or is_known(container, host):
        return False
    logger.warning("%s: removing %s, which belongs to nothing", host.name, container.name)
    runtime.remove(container.id)
    return True


def clean_up_sockets() -> int:
    """Remove the folders of sockets that no replica answers on; how many. None while the installation is on hold."""
    if inventory.is_on_hold():
        return 0
    rows = Replica.objects.exclude(state=ReplicaState.STOPPED).values_list("pk", "generation", "attempt")
    return sockets.sweep({pk: (generation, attempt) for pk, generation, attempt in rows}, time.time())


def is_known(container: ContainerFacts, host: Host) -> bool:
    """Does a row that is not at rest own it on this host?

    A sampler stays as long as its host; what is none of the three lives for seconds only.
    """
    rows = Replica.objects.filter(pk=container.row_id, host=host).exclude(state=ReplicaState.STOPPED)
    if container.kind == "replica":
        return rows.exists()
    if container.kind == ways_in.FORWARDER:
        return rows.filter(generation=container.generation, attempt=container.attempt).exists()
    if container.kind == "job":
        ended = [state.value for state in ENDED]
        return Job.objects.filter(pk=container.row_id, host=host).exclude(state__in=ended).exists()
    return container.kind == "sampler" and container.row_id == host.pk
