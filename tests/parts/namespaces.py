"""Another machine on this one: a network namespace that reaches this machine over a cable of its own."""

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Connects to each (address, port) that standard input names and prints those that took the connection.
PROGRAM = """
import json, socket, sys
taken = []
for address, port in json.load(sys.stdin):
    try:
        socket.create_connection((address, port), timeout=1).close()
        taken.append([address, port])
    except OSError:
        pass
print(json.dumps(taken))
"""
HERE, THERE = "172.31.253.1", "172.31.253.2"
LISTENS = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


class Elsewhere:
    """The other machine; this one is `HERE` to it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def reaches(self, places: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those that take a TCP connection from there."""
        argv = ["ip", "netns", "exec", self._name, "python3", "-c", PROGRAM]
        done = subprocess.run(argv, input=json.dumps(places), capture_output=True, text=True, check=True)
        return [(address, port) for address, port in json.loads(done.stdout)]


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    name = f"my{uuid.uuid4().hex[:8]}"

    def ip(*argv: str) -> None:
        subprocess.run(["ip", *argv], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{HERE}/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "addr", "add", f"{THERE}/30", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "route", "add", "default", "via", HERE)
        yield Elsewhere(name)
    finally:
        ip("netns", "delete", name)


def listening_ports(pids: Iterable[int]) -> set[int]:
    """TCP ports that these processes listen on, on whatever address."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            sockets |= {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS and f"socket:[{fields[9]}]" in sockets:
                found.add(int(fields[1].rsplit(":", 1)[1], 16))
    return found
