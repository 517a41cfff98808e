"""How an engine is spoken to, in one form for rows, routing table, gateway and watcher."""

import json
from pathlib import Path
from typing import Any

import pytest

from webapp.foundation.reach import Address, Reach, parse_address, way
from webapp.gateway.routing.directory import Offers
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.replicas import Replicas
from webapp.gateway.routing.snapshot import from_parts

ADDRESSES = [
    ("http://172.31.5.2:8080", Address("172.31.5.2", 8080)),
    ("http://[fd00::2]:8080", Address("fd00::2", 8080)),
    ("unix:///run/e.sock", Address("", 0, "/run/e.sock")),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_address_is_written_as_it_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [("http://[fd00::2]:8080/", Address("fd00::2", 8080)), ("http://engine", Address("engine", 80))],
)
def test_other_spellings_are_understood(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["https://x", "http://", "http://x/path", "unix://host/path", "unix:relative", "x", "http://x:99999", ""]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        (Address("172.31.5.2", 8080), b"172.31.5.2:8080"),
        (Address("fd00::2", 80), b"[fd00::2]:80"),
        (Address("", 0, "/run/e.sock"), b"localhost"),
    ],
)
def test_a_server_is_called_by_its_name(address: Address, authority: bytes) -> None:
    assert address.authority == authority


def test_from_this_machine_an_engine_is_reached_at_its_own_address() -> None:
    address = Address("172.31.5.2", 8080)
    assert way(Reach(7, address)) == address


def test_a_replica_says_how_it_is_reached_once_it_has_an_address(deployment: Any, host: Any) -> None:
    replica = deployment.replicas.get()
    replica.host, replica.address, replica.port = host, "172.31.5.2", 8080
    assert replica.reach == Reach(host.pk, Address("172.31.5.2", 8080))
    replica.address = ""
    assert replica.reach is None


def test_the_routing_table_says_host_and_address(deployment: Any, host: Any) -> None:
    from webapp.deployments import routes

    where = {"host": host, "address": "172.31.5.2", "port": 8080}
    deployment.replicas.update(state="ready", **where)
    [told] = routes.build(0)["deployments"]
    [entry] = told["replicas"]
    assert (entry["host"], entry["url"], entry["state"]) == (host.pk, "http://172.31.5.2:8080", "ready")


def routed(folder: Path, *replicas: dict[str, Any]) -> list[Any]:
    """What a gateway makes of a routing table with these replicas of one deployment."""
    deployment = {"id": 1, "team": 1, "name": "chat", "endpoints": [], "upstream_model": "m", "replicas": replicas}
    document = {"version": "1", "teams": [{"id": 1, "slug": "research"}], "deployments": [deployment]}
    part = from_parts(b'{"version": "1"}', json.dumps(document).encode()).routes
    assert part is not None
    known = Replicas(LoadTable(folder / "table", 0, 1))
    Offers(part, known)
    return known.ready(part.deployments[0])


def test_a_routing_table_from_before_hosts_were_named_is_read(tmp_path: Path) -> None:
    """A gateway that starts after an upgrade, before web, serves from what the earlier version stored."""
    [found] = routed(tmp_path, {"id": 5, "url": "http://172.31.5.2:8080", "state": "ready"})
    assert found.pool.address == Address("172.31.5.2", 8080)


def test_the_same_socket_on_two_hosts_is_two_places(tmp_path: Path) -> None:
    one = {"id": 5, "url": "unix:///run/e.sock", "state": "ready"}
    first, second = routed(tmp_path, {**one, "host": 1}, {**one, "host": 2})
    assert first.pool is not second.pool


def test_addresses_are_formatted_and_taken_apart_in_one_place() -> None:
    root = Path(__file__).resolve().parents[2]
    packages = ("webapp/gateway", "webapp/deployments", "workers/watcher", "workers/hosts", "workers/runtime")
    found = {
        str(path.relative_to(root))
        for package in packages
        for path in (root / package).rglob("*.py")
        if "http://{" in path.read_text() or "urlsplit" in path.read_text()
    }
    assert found == set()
