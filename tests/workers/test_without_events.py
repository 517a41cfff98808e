"""What the watcher does about containers that no event tells of, with Docker's answers written down."""

import asyncio
from typing import Any

import pytest

from workers.runtime import specs
from workers.runtime.base import ContainerFacts

pytestmark = pytest.mark.django_db(transaction=True)


class Listing:
    """A Docker engine with one paused container, whose log has ended."""

    def __init__(self, container: ContainerFacts) -> None:
        self.container = container

    async def list(self, _labels: Any) -> list[ContainerFacts]:
        return [self.container]

    async def logs(self, *_asked: Any, **_more: Any) -> Any:
        raise OSError("no log")


def test_an_engine_that_is_found_paused_is_followed_so_that_its_return_is_seen(
    deployment: Any, host: Any, advance: Any
) -> None:
    from webapp.deployments.models import Replica
    from workers.watcher.cache import ReplicaCache
    from workers.watcher.hosts import HostWatch
    from workers.watcher.rows import hosts

    row = Replica.objects.get()
    Replica.objects.filter(pk=row.pk).update(host=host)
    advance(row, "placing", "starting", "loading", "paused")
    labels = specs.labels("installation", "replica", row.pk, row.generation, row.attempt)
    paused = ContainerFacts(id="abc", name="engine", status="paused", labels=labels)

    [known] = hosts()

    async def story() -> set[str]:
        watch = HostWatch(known, ReplicaCache(), "installation")
        await watch._list(Listing(paused))  # type: ignore[arg-type]
        begun = {what for what, _key in watch._tasks}
        await watch._cancel_tasks()
        return begun

    assert "probe" in asyncio.run(story())


def test_a_probe_that_ended_by_itself_is_begun_again(deployment: Any, host: Any, advance: Any) -> None:
    """As after an error that nobody foresaw: its replica would stay ready, and never be asked again."""
    from webapp.deployments.models import Replica
    from workers.watcher.cache import ReplicaCache
    from workers.watcher.hosts import HostWatch
    from workers.watcher.rows import hosts

    row = Replica.objects.get()
    Replica.objects.filter(pk=row.pk).update(host=host, container_id="abc")
    advance(row, "placing", "starting", "loading", "ready")
    [known] = hosts()

    async def story() -> list[bool]:
        cache = ReplicaCache()
        watch = HostWatch(known, cache, "installation")
        await cache.refresh_all()
        seen = []
        for _ in range(2):
            await watch.tick()
            seen.append(("probe", "abc") in watch._tasks)
            await asyncio.sleep(0)
            watch._end("probe", "abc")
        return seen

    assert asyncio.run(story()) == [True, True]


def test_an_engine_that_has_ended_is_not_asked_again_while_its_worker_is_late(
    deployment: Any, host: Any, advance: Any
) -> None:
    """It would be told as unwell, and when it was ready would be forgotten before the worker says why it ended."""
    from webapp.deployments.models import Replica
    from workers.watcher.cache import ReplicaCache
    from workers.watcher.hosts import HostWatch
    from workers.watcher.rows import hosts

    row = Replica.objects.get()
    Replica.objects.filter(pk=row.pk).update(host=host, container_id="abc")
    advance(row, "placing", "starting", "loading", "ready")
    [known] = hosts()
    docker: Any = None  # nothing is asked of it

    async def story() -> list[bool]:
        cache = ReplicaCache()
        watch = HostWatch(known, cache, "installation")
        await cache.refresh_all()
        seen = []
        for action in ("die", "start"):
            await watch._handle(docker, {"Action": action, "Actor": {"ID": "abc"}})
            await watch.tick()
            seen.append(("probe", "abc") in watch._tasks)
            await asyncio.sleep(0)
        await watch._cancel_tasks()
        return seen

    assert asyncio.run(story()) == [False, True]
