"""The engines that take requests, kept from one snapshot to the next."""

import logging
import re
import time
from collections.abc import Iterable

from webapp.foundation.reach import Address, Reach, parse_address, way
from webapp.gateway.http.pool import Pool
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.snapshot import DeploymentEntry, Place, ReplicaEntry

log = logging.getLogger(__name__)

AVOID_S = 2.0


class Replica:
    """One engine process. `cell` is its place in the shared load table."""

    __slots__ = ("avoid_until", "cell", "host_header", "id", "pool", "served_by")

    def __init__(self, replica_id: int, deployment: DeploymentEntry, address: Address, cell: int) -> None:
        self.id = replica_id
        self.cell = cell
        self.pool = Pool(address, deployment.closes_after_stream)
        self.host_header = b"host: " + address.authority + b"\r\n"
        self.served_by = f"x-modelyard-served-by: {_header_safe(deployment.name)}/{replica_id}\r\n".encode()
        self.avoid_until = 0.0

    def avoid(self) -> None:
        """It refused a connection: others are asked first for a moment."""
        self.avoid_until = time.monotonic() + AVOID_S


def _header_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "?", name)


class Replicas:
    """Keeps a replica's connections from one snapshot to the next."""

    def __init__(self, table: LoadTable) -> None:
        self._table = table
        self._known: dict[Place, Replica] = {}

    def ready(self, deployment: DeploymentEntry) -> list[Replica]:
        """The replicas of a deployment that may take requests."""
        if deployment.desired != "running":
            return []
        entries = [entry for entry in deployment.replicas if entry.state == "ready"]
        return [found for entry in entries if (found := self._get(deployment, entry)) is not None]

    def keep_only(self, wanted: Iterable[Place]) -> None:
        """Close idle connections to what is not in the snapshot any more; running requests go on."""
        for gone in self._known.keys() - set(wanted):
            self._known.pop(gone).pool.close()

    def opened_connections(self) -> int:
        return sum(replica.pool.opened for replica in self._known.values())

    def _get(self, deployment: DeploymentEntry, entry: ReplicaEntry) -> Replica | None:
        known = self._known.get(entry.place)
        if known is None:
            try:
                reach = Reach(entry.host, parse_address(entry.url))
            except ValueError as error:
                log.warning("replica %d is left out: %s", entry.id, error)
                return None
            known = Replica(entry.id, deployment, way(reach), self._table.cell(entry.id))
            self._known[entry.place] = known
        known.pool.closes_after_stream = deployment.closes_after_stream
        return known
