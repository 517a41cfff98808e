"""Who is let in, what a request that was let in holds, and whether it may stay.

The two lists of steps are the place of every limit: a new one is a step in one of them, and gives back in `leave` what
it has taken.
"""

from collections.abc import Callable

import msgspec

from webapp.gateway.admission import key_slots, permission, refusals
from webapp.gateway.admission.body_room import SMALL_BYTES, BodyRoom
from webapp.gateway.admission.key_slots import KeySlots
from webapp.gateway.http import content_coding
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.request import Request
from webapp.gateway.http.seen_credential import SeenCredential
from webapp.gateway.routing.credentials import Principal, authenticate
from webapp.gateway.routing.directory import Deployment, Directory
from webapp.gateway.routing.replicas import Replica
from webapp.gateway.routing.table import RoutingTable
from webapp.gateway.routing.targets import Target


class Admitted(msgspec.Struct, eq=False, gc=False):
    """One request, and what it holds until it is over. `directory` is the one that let it in; `is_packed`: its body is
    compressed; `held_bytes` are counted among the bodies."""

    request: Request
    target: Target
    seen: SeenCredential
    directory: Directory
    principal: Principal | None = None
    is_packed: bool = False
    slot: int = key_slots.NONE
    held_bytes: int = 0


class Refusal(msgspec.Struct, eq=False, gc=False):
    """Nothing is held any more. `principal` is whose key it was, when that is known."""

    problem: Problem
    principal: Principal | None


Step = Callable[[Admitted], None]
ModelStep = Callable[[Admitted, Deployment], None]


class Admission:
    """A step raises Problem for a request that it does not let pass."""

    def __init__(self, table: RoutingTable, slots: KeySlots, bodies: BodyRoom) -> None:
        self._table = table
        self._slots = slots
        self.bodies = bodies
        # With the head, before any of a body is read.
        self.steps: tuple[Step, ...] = (
            _says_who_asks,
            _can_be_read,
            self._takes_a_slot,
            self._announces_its_body,
        )
        # With the body, when it is known for which deployment it is.
        self.model_steps: tuple[ModelStep, ...] = (_asks_for_what_is_offered,)

    def admit(self, request: Request, target: Target, seen: SeenCredential) -> Admitted | Refusal:
        """What can be told from the head alone."""
        admitted = Admitted(request, target, seen, self._table.directory)
        try:
            for step in self.steps:
                step(admitted)
        except Problem as problem:
            self.leave(admitted)
            return Refusal(problem, admitted.principal)
        except Exception:
            self.leave(admitted)
            raise
        return admitted

    def admit_to_model(self, admitted: Admitted, deployment: Deployment) -> None:
        """What can be told when the body has named its model. Raises Problem."""
        for step in self.model_steps:
            step(admitted, deployment)

    def find(self, admitted: Admitted, model: str | None) -> Deployment:
        """The deployment in the present directory: the path's, else the one the body names. What the principal may not
        use does not exist for it. Raises Problem."""
        assert admitted.principal is not None
        target, directory = admitted.target, self._table.directory
        if target.deployment is not None and target.team is not None:
            return directory.by_path(admitted.principal, target.team, target.deployment)
        if not model:
            raise Problem(400, "model_missing", "Missing required parameter: 'model'", param="model")
        return directory.by_model(admitted.principal, model)

    def hold(self, admitted: Admitted, size: int) -> None:
        """Count a body that has grown to `size` bytes. Raises Problem."""
        admitted.held_bytes = self.bodies.hold(admitted.held_bytes, size)

    def keep(self, admitted: Admitted, size: int) -> None:
        """Of the body that was held no more than `size` bytes are left."""
        if admitted.held_bytes > size:
            self.bodies.release(admitted.held_bytes - size)
            admitted.held_bytes = size

    def leave(self, admitted: Admitted) -> None:
        """The request is over: what it held is free again. Once for each."""
        self.bodies.held_bytes -= admitted.held_bytes
        self._slots.give_back(admitted.slot)

    def withdrawn(self, admitted: Admitted, deployment: Deployment, replica: Replica | None) -> Problem | None:
        """Why a running request may not go on: its key or grant is not there any more, or its engine was paused. Cheap
        while the directory is the same one."""
        assert admitted.principal is not None
        directory = self._table.directory
        if directory is admitted.directory and admitted.principal.expires_at is None:
            return None
        admitted.directory = directory
        problem = permission.withdrawn(admitted.principal, deployment, directory)
        if problem is not None:
            return problem
        if replica is not None and directory.is_paused(deployment.id, replica.id):
            return refusals.paused(deployment)
        if admitted.principal.key is not None:
            # With the end that the key has by now; the clock is asked about that one without a new snapshot, too.
            admitted.principal = directory.key(admitted.principal.key)
        return None

    def _takes_a_slot(self, admitted: Admitted) -> None:
        assert admitted.principal is not None
        admitted.slot = self._slots.take(admitted.principal)

    def _announces_its_body(self, admitted: Admitted) -> None:
        size = admitted.request.content_length
        if size is not None and size > SMALL_BYTES:
            self.hold(admitted, size)


def _says_who_asks(admitted: Admitted) -> None:
    if admitted.target.carries_key:
        raise refusals.key_in_query()
    if not admitted.directory.is_known:
        raise refusals.not_ready()
    admitted.principal = authenticate(admitted.request.fields, admitted.directory, admitted.seen)


def _can_be_read(admitted: Admitted) -> None:
    if admitted.request.method != b"POST":
        raise refusals.wrong_method(admitted.request.method)
    coding = admitted.request.fields.get(b"content-encoding")
    if coding is not None:
        admitted.is_packed = content_coding.check(coding)


def _asks_for_what_is_offered(admitted: Admitted, deployment: Deployment) -> None:
    if admitted.target.endpoint not in deployment.endpoints:
        raise refusals.not_offered(deployment, admitted.target.endpoint)
