"""The public port: taken by all gateway processes of this installation together, and by nobody else.

SO_REUSEPORT lets processes of one user share a port, and so would let a second installation take every other
connection of the first without any error. Therefore the first process to come tries the port without the option;
later ones know by a lock that the port is already held by their own kind.
"""

import contextlib
import fcntl
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from webapp.gateway.settings import Settings, port_lock

BACKLOG = 4096


class PortTaken(Exception):
    """Another program listens there; the text says what to do."""


class Port:
    """A listening socket, and the lock that tells siblings about it. `close` gives both up."""

    def __init__(self, listener: socket.socket, lock: IO[bytes]) -> None:
        self.listener = listener
        self._lock = lock

    def release(self) -> None:
        """Siblings that start from now on do not count on this process."""
        self._lock.close()


def take(settings: Settings) -> Port:
    """Raises PortTaken."""
    alive_lock = _open_lock(port_lock(settings.port, "alive"))
    # Starts are one at a time, so that of two first processes one looks at the port and the other at the lock.
    with _held(port_lock(settings.port, "start")):
        try:
            if _is_alone(alive_lock):
                _bind(settings, shared=False).close()
            listener = _bind(settings, shared=True)
            listener.listen(BACKLOG)
        except OSError as error:
            alive_lock.close()
            raise PortTaken(_explain(settings, error)) from error
        fcntl.flock(alive_lock, fcntl.LOCK_SH)
    return Port(listener, alive_lock)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with the installation's certificate; None without one. Raises OSError or ssl.SSLError."""
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bind(settings: Settings, *, shared: bool) -> socket.socket:
    info = socket.getaddrinfo(settings.bind, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = info[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _is_alone(alive_lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(alive_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with _open_lock(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_lock(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb")


def _explain(settings: Settings, error: OSError) -> str:
    where = f"{settings.bind} port {settings.port}"
    if isinstance(error, PermissionError):
        return f"Listening on {where} is not permitted: use a port above 1023 (MODELYARD_PORT)"
    return (
        f"{where} cannot be used ({error.strerror or error}): another program listens there. "
        f"Stop it (`ss -ltnp 'sport = :{settings.port}'` names it) or choose another port with MODELYARD_PORT."
    )
