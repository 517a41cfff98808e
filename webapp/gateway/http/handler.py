"""What a client's connection expects of whoever serves its request."""

from typing import Protocol


class Handler(Protocol):
    """Serves one request. It ends by calling `Connection.response_complete`, `refuse` or `abort`."""

    @property
    def has_answered(self) -> bool:
        """Whether any byte of an answer was written."""

    def body_arrived(self, data: bytes) -> None: ...

    def body_finished(self) -> None: ...

    def client_gone(self) -> None: ...

    def client_full(self) -> None: ...

    def client_drained(self) -> None: ...

    def check(self, now: float) -> None:
        """Called about twice a second: give up what has taken too long."""

    def failed(self, error: Exception) -> None:
        """It has raised something that nobody expected: log it, and answer if that is still possible."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes after an Upgrade, kept until the other side agreed or passed on."""
