"""What an engine reaches and who reaches an engine: real connections, from inside its container and from outside."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.acting import containers, engine_pid, has_ended, inspect, prove, reload, wait_for
from webapp.engines.base import ProbeSpec
from workers.hosts.asker import ask

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]

# Runs in the network of an engine's container: what happened to each way out.
WAYS_OUT = """
import json, socket, sys
def tried(way):
    kind, where = way[0], way[1:]
    try:
        if kind == "name":
            return socket.getaddrinfo(where[0], 80) and "reached"
        family, type_ = getattr(socket, kind.split()[0]), getattr(socket, kind.split()[1])
        with socket.socket(family, type_) as out:
            out.settimeout(5)
            out.connect(chr(0) + where[0] if family == socket.AF_UNIX else tuple(where))
            out.send(b"x")
            return "reached"
    except OSError as error:
        return error.__class__.__name__ + " " + str(error.errno)
print(json.dumps({str(way): tried(way) for way in json.loads(sys.argv[1])}))
"""


@pytest.fixture
def everywhere() -> Iterator[list[socket.socket]]:
    """Listening on all addresses of this machine, as a database or a broker would: TCP, IPv6, UDP, an abstract name."""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("", 0)))
        tcp6 = stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("", 0))
        hidden = stack.enter_context(socket.socket(socket.AF_UNIX))
        hidden.bind(f"\0modelyard-test-{tcp.getsockname()[1]}")
        hidden.listen()
        yield [tcp, tcp6, udp, hidden]


def in_network_of(pid: int, *argv: str) -> str:
    """What a program of this machine prints in the network of that process."""
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", *argv], capture_output=True, text=True, check=True)
    return done.stdout


def test_from_inside_nothing_is_reached(serve: Serve, work: Any, engine: Any, everywhere: Any) -> None:
    one, other = serve("one"), serve("two")
    work()
    prove(one)
    prove(other)
    hidden = everywhere.pop()
    port, port6, udp_port = (each.getsockname()[1] for each in everywhere)
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    addresses = list(dict.fromkeys([engine.address, *(one for one in said if ":" not in one)]))
    ways: list[list[Any]] = [
        ["AF_INET SOCK_STREAM", "127.0.0.1", port],
        ["AF_UNIX SOCK_STREAM", hidden.getsockname()[1:].decode()],
        *(["AF_INET SOCK_STREAM", host, port] for host in addresses),
        *(["AF_INET SOCK_DGRAM", host, udp_port] for host in addresses),
        ["AF_INET6 SOCK_STREAM", "::1", port6],
        ["AF_INET6 SOCK_STREAM", "2606:4700:4700::1111", 443],
        ["AF_INET6 SOCK_DGRAM", "ff02::1", 5353],
        ["AF_INET SOCK_STREAM", "169.254.169.254", 80],
        ["AF_INET SOCK_STREAM", "1.1.1.1", 443],
        ["AF_INET SOCK_DGRAM", "8.8.8.8", 53],
        ["name", "example.org"],
        ["name", "modelyard-1-g1-a1"],
    ]
    program = (sys.executable, "-c", WAYS_OUT, json.dumps(ways))
    from_here = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert [from_here[str(way)] for way in ways[:3]] == ["reached"] * 3, "there is something to reach"
    pid = engine_pid(engine, one.container_name)
    from_inside = json.loads(in_network_of(pid, *program))
    assert len(from_inside) == len(ways) and [way for way, said in from_inside.items() if said == "reached"] == []
    assert in_network_of(pid, "ip", "-o", "link").count("\n") == 1, "the loopback interface alone"
    inside = Path(f"/proc/{pid}/root")
    assert [path.name for path in (inside / "run/modelyard").iterdir()] == ["e.sock"]
    assert [path.name for path in (inside / "run").iterdir()] == ["modelyard"], "no socket of ours or of Docker"


@pytest.mark.parametrize("user", [12345, 65534], ids=["somebody", "nobody"])
def test_from_outside_no_other_user_of_the_machine_gets_in(serve: Serve, work: Any, engine: Any, user: int) -> None:
    replica = serve()
    work()
    prove(replica)
    pid = engine_pid(engine, replica.container_name)
    ways = [replica.socket, f"/proc/{pid}/root/run/modelyard/e.sock"]
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for way in ways:
        mine = subprocess.run([sys.executable, "-c", program, way], capture_output=True, text=True)
        assert mine.returncode == 0, mine.stderr
        other = subprocess.run(
            ["/usr/bin/python3", "-c", program, way], capture_output=True, text=True, user=user, group=user, cwd="/"
        )
        assert "PermissionError" in other.stderr, (way, other.stderr)


def test_a_folder_goes_with_its_attempt(serve: Serve, work: Any, engine: Any, ada: Any) -> None:
    from webapp.deployments import services

    replica = serve()
    work()
    folder = Path(reload(replica).socket).parent
    assert folder.is_dir()
    services.stop(ada, replica.deployment)
    work()
    wait_for(lambda: has_ended(engine, replica.container_name))
    work.pass_time(replica, 1)
    assert reload(replica).state == "stopped"
    assert not folder.exists() and containers(engine) == []


def test_where_sockets_cannot_be_engines_have_the_internal_network_until_they_can(
    serve: Serve, work: Any, engine: Any, ada: Any, foreign: Callable[[bool], Any]
) -> None:
    """An engine from before an upgrade is just this: it has an address, and serves until it is replaced."""
    from webapp.deployments import services

    host = foreign(True)
    assert (host.isolation, host.engine_network) == ("open", "modelyard-engines")
    assert host.open_because.startswith("Its containers do not share this machine's kernel")
    replica = serve()
    work()
    prove(replica)
    container = inspect(engine, replica.container_name)
    [(name, network)] = container["NetworkSettings"]["Networks"].items()
    assert (name, network["IPAddress"]) == ("modelyard-engines", replica.address)
    files = f"/models/{replica.deployment.artifact_id}"
    assert [mount["Destination"] for mount in container["Mounts"]] == [files], "no socket"

    host = foreign(False)
    assert (host.isolation, host.engine_subnet != "") == ("closed", True), "one engine still uses the network"
    assert reload(replica).state == "ready"
    assert asyncio.run(ask(replica.reach, ProbeSpec("GET", "/health"))).status == 200
    services.stop(ada, replica.deployment)
    work()
    work.pass_time(replica, 2.3)
    wait_for(lambda: has_ended(engine, replica.container_name))
    work.pass_time(replica, 1)
    services.start(ada, replica.deployment)
    work()
    prove(replica)
    assert replica.socket, "its next attempt has no network"
    assert foreign(False).engine_subnet == ""
    with contextlib.closing(engine.client()) as client:
        assert "modelyard-engines" not in [network["Name"] for network in client.networks()]
