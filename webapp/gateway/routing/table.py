"""What one process routes by: the present directory, the engines' connections, and the load of each engine."""

from webapp.gateway.routing.directory import Directory
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.replicas import Replicas
from webapp.gateway.routing.snapshot import Snapshot


class RoutingTable:
    """`directory` is another one after each snapshot: who looks twice during a request may see two."""

    def __init__(self, loads: LoadTable) -> None:
        self.loads = loads
        self.replicas = Replicas(loads)
        self.directory = Directory()

    def adopt(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot from now on. Requests that run keep what they were given."""
        self.directory = Directory(snapshot, self.replicas)
        self.replicas.keep_only(entry.place for d in snapshot.deployments for entry in d.replicas)

    def close(self) -> None:
        self.replicas.keep_only(())
