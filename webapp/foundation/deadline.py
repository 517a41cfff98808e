"""One end for a whole exchange: sockets that stop at a moment, however often a byte arrives. Standard library alone.

A timeout of a socket is one of each silence: who sends a byte before it is over holds the line for ever.
"""

import socket
import ssl
import threading
import time
from typing import Any


class Deadline:
    """So many seconds from now on, for everything that is done under it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises TimeoutError when none is."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        return left


class _Bounded:
    """Every wait of the socket ends at its deadline."""

    deadline: Deadline | None = None

    def _limit(self) -> None:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())  # type: ignore[attr-defined]

    def recv(self, *words: Any, **more: Any) -> Any:
        self._limit()
        return super().recv(*words, **more)  # type: ignore[misc]

    def recv_into(self, *words: Any, **more: Any) -> Any:
        self._limit()
        return super().recv_into(*words, **more)  # type: ignore[misc]

    def send(self, *words: Any, **more: Any) -> Any:
        self._limit()
        return super().send(*words, **more)  # type: ignore[misc]

    def sendall(self, *words: Any, **more: Any) -> Any:
        self._limit()
        return super().sendall(*words, **more)  # type: ignore[misc]


class BoundedSocket(_Bounded, socket.socket):
    """A TCP connection that ends its waits at a deadline."""


class BoundedTls(_Bounded, ssl.SSLSocket):
    """The same with TLS over it."""


def connect(address: str, port: int, deadline: Deadline, at_most_s: float) -> BoundedSocket:
    """A connection to an address (not a name). Raises OSError."""
    plain = socket.create_connection((address, port), timeout=min(at_most_s, deadline.left()))
    bounded = BoundedSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    bounded.deadline = deadline
    return bounded


def connect_any(addresses: list[str], port: int, deadline: Deadline, at_most_s: float = 10.0) -> BoundedSocket:
    """A connection to the first of these that takes one; a silent one leaves the others their share. Raises OSError."""
    last: OSError | None = None
    for number, address in enumerate(addresses):
        try:
            return connect(address, port, deadline, min(at_most_s, deadline.left() / (len(addresses) - number)))
        except OSError as error:
            last = error
    raise last or OSError("no address")


def bounded(context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLContext:
    """The same context; what it encrypts from now on ends at the deadline."""
    context.sslsocket_class = type("BoundedTls", (BoundedTls,), {"deadline": deadline})
    return context


def encrypt(plain: socket.socket, context: ssl.SSLContext, name: str, deadline: Deadline) -> ssl.SSLSocket:
    """TLS over it, before the deadline; `plain` is closed when that fails. Raises OSError."""
    try:
        plain.settimeout(deadline.left())
        return bounded(context, deadline).wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def release(bounded: socket.socket, silence_s: float) -> None:
    """From now on only silences count: for what is long and must not be cut."""
    assert isinstance(bounded, BoundedSocket | BoundedTls)
    bounded.deadline = None
    bounded.settimeout(silence_s)


def resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """`getaddrinfo` before the deadline; a name service that is silent is left behind with its thread.

    Raises OSError, UnicodeError.
    """
    found: list[Any] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline.left())
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError("the name service took too long")
    return list(found)
