"""Who gets an answer from an engine or from web, and its head."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from webapp.gateway.http.request import Header


class ResponseHead(msgspec.Struct, gc=False):
    """`length` is None when the body is chunked or ends with the connection. Belongs to the receiver for the time of
    the call only. `noted`: what reply_head found out about the headers, for when they come again."""

    status: int
    headers: list[Header]
    length: int | None
    keeps_alive: bool = False
    noted: "tuple[bytes, bool] | None" = None


class Receiver(Protocol):
    """Who gets the response. After response_finished, response_failed or upgraded nothing more is called."""

    def response_started(self, head: ResponseHead) -> Callable[[bytes], None]:
        """Says who takes the body, read by read; what it is called with may be empty after the head."""

    def response_finished(self, data: bytes, ended_by_close: bool) -> None:
        """The last bytes. `ended_by_close`: only the end of the connection said so, so it may be a broken one."""

    def response_failed(self, reason: str, never_arrived: bool) -> None:
        """`never_arrived`: it is proven that no byte of the request was taken, so it may be sent elsewhere."""

    def upgraded(self, data: bytes) -> None:
        """101 was answered; `data` are the first bytes of the new protocol."""

    def failed(self, error: Exception) -> None:
        """One of these has raised something that nobody expected."""

    def upstream_full(self) -> None: ...

    def upstream_drained(self) -> None: ...
