"""What one process routes by: the present directory, the engines' connections, and the load of each engine."""

from webapp.gateway.routing.directory import Directory, Offers, People
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.replicas import Replicas
from webapp.gateway.routing.snapshot import NOBODY, NOWHERE, Snapshot


class RoutingTable:
    """`directory` is another one after each snapshot: who looks twice during a request may see two."""

    def __init__(self, loads: LoadTable) -> None:
        self.loads = loads
        self.replicas = Replicas(loads)
        self.directory = Directory(People(NOBODY), Offers(NOWHERE))

    def adopt(self, snapshot: Snapshot) -> None:
        """Answer from this from now on; a part that is not in it stays as it is. Requests that run keep what they were
        given."""
        people, offers = self.directory.people, self.directory.offers
        if snapshot.principals is not None:
            people = People(snapshot.principals)
        if snapshot.routes is not None:
            offers = Offers(snapshot.routes, self.replicas)
        self.directory = Directory(people, offers)
        if snapshot.routes is not None:
            self.replicas.keep_only(entry.place for d in snapshot.routes.deployments for entry in d.replicas)

    def close(self) -> None:
        self.replicas.keep_only(())
