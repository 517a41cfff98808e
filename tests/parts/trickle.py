"""A TCP server on this machine that answers slowly: whoever waits for all of it gets all of it, in the end."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Trickling:
    port: int
    url: str


@contextlib.contextmanager
def trickling(answer: bytes, pause_s: float, at_once: int = 1, after: int = 0) -> Iterator[Trickling]:
    """Answers every connection with `after` bytes, then `at_once` after each pause; reads what it was asked last."""
    done = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(answer[:after])
            for start in range(after, len(answer), at_once):
                if done.wait(pause_s):
                    return
                connection.sendall(answer[start : start + at_once])
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):
                pass

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        port = listener.getsockname()[1]
        yield Trickling(port, f"http://127.0.0.1:{port}/")
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
