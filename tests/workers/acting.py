"""What tests of workers do again and again."""

import asyncio
import contextlib
import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker


def reload(row: Any) -> Any:
    row.refresh_from_db()
    return row


def containers(engine: Any, kind: str = "replica") -> list[dict[str, Any]]:
    with contextlib.closing(engine.client()) as client:
        return list(client.containers(all=True, filters={"label": f"modelyard.kind={kind}"}))


def inspect(engine: Any, name: str) -> dict[str, Any]:
    with contextlib.closing(engine.client()) as client:
        return dict(client.inspect_container(name))


def engine_pid(engine: Any, name: str) -> int:
    """The engine's own process: Docker's init is before it."""
    pid = inspect(engine, name)["State"]["Pid"]
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def has_ended(engine: Any, name: str) -> bool:
    """It exited, or is gone altogether."""
    with contextlib.suppress(docker.errors.NotFound):
        return bool(inspect(engine, name)["State"]["Status"] == "exited")
    return True


def wait_for(condition: Callable[[], Any], limit_s: float = 300) -> None:
    """Ask a real part until it says yes."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


class Line(http.client.HTTPConnection):
    """A connection of a test's own to an engine, past the gateway."""

    def __init__(self, replica: Any) -> None:
        super().__init__("localhost", timeout=60)
        self.path = replica.socket

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def prove(replica: Any, limit_s: float = 300) -> None:
    """What the watcher does: ask until it answers a real request."""
    from workers.watcher import probing
    from workers.watcher.cache import ReplicaCache

    async def until_ready() -> None:
        cache = ReplicaCache()
        target = await cache.refresh(replica.pk)
        assert target is not None
        async with asyncio.timeout(limit_s):
            await probing._until_ready(cache, target.run)

    asyncio.run(until_ready())
    assert reload(replica).state == "ready", replica.reason
