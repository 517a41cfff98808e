"""The way of a replica over a real Docker engine: tasks called as workers call them, the clock moved by hand."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.docker


def reload(row: Any) -> Any:
    row.refresh_from_db()
    return row


def containers(engine: Any, kind: str = "replica") -> list[dict[str, Any]]:
    client = engine.client()
    try:
        return list(client.containers(all=True, filters={"label": f"modelyard.kind={kind}"}))
    finally:
        client.close()


def wait_for(condition: Callable[[], bool], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def prove(replica: Any) -> None:
    """What the watcher does: ask until it answers a real request."""
    from workers.watcher import probing
    from workers.watcher.board import Board

    async def until_ready() -> None:
        board = Board()
        target = await board.refresh(replica.pk)
        assert target is not None
        async with asyncio.timeout(15):
            await probing._until_ready(board, target.run)

    asyncio.run(until_ready())
    assert reload(replica).state == "ready", replica.reason


def test_a_wish_becomes_a_running_engine_and_nothing_stays_of_it_after_deletion(
    serve: Callable[..., Any], work: Callable[[], None], engine: Any, machine: Any, ada: Any
) -> None:
    from webapp.deployments import services
    from webapp.deployments.models import Deployment

    replica = serve()
    work()
    assert reload(replica).state == "loading", (replica.state, replica.reason)
    [container] = containers(engine)
    assert container["Names"] == [f"/{replica.container_name}"]
    prove(replica)
    assert reload(machine).booked_bytes > 0
    services.delete(ada, replica.deployment)
    work()
    assert reload(replica).state == "draining"
    work.pass_time(replica, 2.3)
    assert reload(replica).state == "stopping"
    wait_for(lambda: containers(engine)[0]["State"] == "exited")
    work.pass_time(replica, 0.5)
    assert not Deployment.objects.exists()
    assert containers(engine) == []
    assert reload(machine).booked_bytes == 0
