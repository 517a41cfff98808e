"""How an engine is spoken to: which host it is on and where it listens there. Pure; gateway and workers use it.

What an engine behind TLS or a link to another machine needs is told here and nowhere else.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

UNIX = "unix://"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a TCP host and port, or the path of a unix socket."""

    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> bytes:
        """What belongs in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode() if not self.path else b"localhost"

    def __str__(self) -> str:
        """What `parse_address` reads."""
        return f"{UNIX}{self.path}" if self.path else f"http://{self.authority.decode()}"


def at_socket(path: str) -> Address:
    """A unix socket. Nothing in its path is escaped: a folder may be called "a#b"."""
    return Address("", 0, path)


def parse_address(text: str) -> Address:
    """http://host:port or unix:///path; raises ValueError for anything else."""
    if text.startswith(UNIX + "/"):
        return at_socket(text.removeprefix(UNIX))
    parts = urlsplit(text)
    if parts.scheme == "http" and parts.hostname and parts.path in ("", "/"):
        return Address(parts.hostname, parts.port or 80)
    raise ValueError(f"{text!r} is neither http://host:port nor unix:///path")


@dataclass(frozen=True, slots=True)
class Reach:
    """One engine: the id of the host it runs on (0: none of ours), and its address as that host sees it."""

    host_id: int
    address: Address


def way(reach: Reach) -> Address:
    """What this machine connects to: the engine's socket, which lies here where engines have no network, else its own
    address, since every host's engine network is routed here."""
    return reach.address
