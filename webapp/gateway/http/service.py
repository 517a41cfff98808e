"""What a client's connection expects of the process it belongs to."""

from typing import Protocol, TypeVar

from webapp.gateway.http.errors import Problem
from webapp.gateway.http.request import Request

C = TypeVar("C", contravariant=True)  # the connection


class Limits(Protocol):
    """Seconds."""

    @property
    def header_timeout_s(self) -> float: ...

    @property
    def idle_timeout_s(self) -> float: ...

    @property
    def client_stall_timeout_s(self) -> float: ...


class Service(Protocol[C]):
    """What the connections of a process belong to, and who serves their requests."""

    limits: Limits
    is_draining: bool

    def opened(self, connection: C) -> Problem | None:
        """One more; a problem if it is one too many."""

    def closed(self, connection: C) -> None: ...

    def begin(self, connection: C, request: Request) -> None:
        """Serve a request whose headers are complete and readable."""

    def refuse(self, connection: C, request: Request, problem: Problem) -> None:
        """Answer with an error and note it."""

    def failed(self, connection: C, request: Request, error: Exception) -> None:
        """Answer a request that nobody could begin to serve, for a reason that nobody expected."""

    def own_lines(self, request: Request) -> bytes:
        """Header lines for an answer that is the gateway's own."""
