"""One module opens connections to Docker engines, and says in one way that nobody answers."""

import ast
import asyncio
import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workers.hosts import connection
from workers.hosts.connection import HostConnection
from workers.runtime.base import ContainerMissing, HostUnreachable


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A connection that is left to the garbage collector fails the test that left it, not one that comes later."""
    yield
    gc.collect()


ROOT = Path(__file__).resolve().parents[2]
OPENING = {("docker", "DockerClient"), ("docker", "APIClient"), ("docker", "from_env"), ("aiodocker", "Docker")}
# The launcher looks for an engine before there are hosts, and starts one where it finds none.
WITHOUT_HOSTS = "workers/launcher"


def _opens(node: ast.AST) -> bool:
    call = node.func if isinstance(node, ast.Call) else None
    return (
        isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and (call.value.id, call.attr) in OPENING
    )


def _reads_endpoint(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "endpoint") or (
        isinstance(node, ast.Constant) and node.value == "endpoint"
    )


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "workers").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not name.startswith(WITHOUT_HOSTS):
            yield name, ast.parse(path.read_text())


@pytest.mark.parametrize("forbidden", [_opens, _reads_endpoint])
def test_engines_are_connected_to_in_one_module(forbidden: Any) -> None:
    found = {name for name, tree in _modules() if any(map(forbidden, ast.walk(tree)))}
    assert found == {"workers/hosts/connection.py"}


def test_only_the_hosts_room_knows_the_library_for_event_loops() -> None:
    found = set()
    for name, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and any(alias.name.startswith("aiodocker") for alias in node.names):
                found.add(name)
    assert found == {"workers/hosts/client.py", "workers/hosts/connection.py"}


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [("unix:///nowhere/docker.sock", "no such file or directory"), ("tcp://127.0.0.1:9", "connection refused")],
)
def test_an_engine_that_is_away_is_told_in_the_systems_words(endpoint: str, why: str) -> None:
    async def story() -> None:
        async with HostConnection(endpoint).client() as client:
            await client.ping()

    with pytest.raises(HostUnreachable, match=f"^{why}$"):
        asyncio.run(story())


def test_code_that_blocks_is_told_the_same() -> None:
    with pytest.raises(HostUnreachable, match="The Docker socket does not exist"):
        HostConnection("unix:///nowhere/docker.sock").runtime().info()


def test_a_runtime_is_kept_for_as_long_as_the_row_says_the_same(host: Any) -> None:
    first = connection.runtime(host)
    assert connection.runtime(type(host).objects.get()) is first
    host.endpoint = "unix:///elsewhere.sock"
    assert connection.runtime(host) is not first
    assert connection.of(host) != connection.of(type(host).objects.get())


CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def engine_says(reply: bytes, tmp_path: Path, ask: Any) -> Any:
    """What a client makes of an engine that tells its version and says just this to everything else."""

    async def story() -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            is_version = head.startswith(b"GET /version ")
            writer.write(_reply("200 OK", '{"ApiVersion": "1.45"}') if is_version else reply)
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "d.sock")
        async with server, HostConnection(f"unix://{tmp_path}/d.sock").client() as client:
            return await ask(client)

    return asyncio.run(story())


def _reply(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()


def test_what_an_engine_lists_comes_as_records(tmp_path: Path) -> None:
    item = '[{"Id": "abc", "State": "running", "Labels": {"modelyard.kind": "replica", "modelyard.id": "7"}}]'
    [facts] = engine_says(_reply("200 OK", item), tmp_path, lambda client: client.list({"a": "b"}))
    assert (facts.id, facts.status, facts.kind, facts.row_id) == ("abc", "running", "replica", 7)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (_reply("404 Not Found", '{"message": "No such container: x"}'), ContainerMissing),
        (_reply("500 Oh", '{"message": "driver failed"}'), HostUnreachable),
        (_reply("200 OK", "{"), HostUnreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", HostUnreachable),
        (b"garbage\r\n\r\n", HostUnreachable),
        (b"", HostUnreachable),
    ],
)
def test_what_goes_wrong_comes_as_one_of_our_faults(tmp_path: Path, reply: bytes, fault: type[Exception]) -> None:
    with pytest.raises(fault) as caught:
        engine_says(reply, tmp_path, lambda client: client.stats("x"))
    assert type(caught.value) is fault
    assert str(caught.value)


@pytest.mark.parametrize("asked", ["/version", "/events", "/json", "/logs", "/create"])
def test_a_call_that_is_given_up_half_way_closes_its_connection(tmp_path: Path, asked: str) -> None:
    calls: dict[str, Any] = {
        "/version": lambda client: client.ping(),
        "/events": lambda client: client.events({}, 1).get(),
        "/json": lambda client: client.list({}),
        "/logs": lambda client: anext(client.log("abc")),
        "/create": lambda client: anext(client.pull("image")),
    }

    async def story() -> None:
        begun = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while path := (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")[0]:
                    if path.endswith(asked):
                        writer.write(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b'5\r\n[{"a"\r\n')
                        begun.set()
                    else:
                        what = '{"Config": {"Tty": false}}' if path.endswith("abc/json") else '{"ApiVersion": "1.45"}'
                        writer.write(_reply("200 OK", what).replace(b"Connection: close", b"A: b"))
            writer.close()

        async def call() -> None:
            async with HostConnection(f"unix://{tmp_path}/d.sock").client() as client:
                await calls[asked](client)

        async with await asyncio.start_unix_server(serve, tmp_path / "d.sock"):
            task = asyncio.create_task(call())
            await begun.wait()
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(story())
