"""Sampling around a real Docker engine: what ends up in the database, and that a broken host costs only its own."""

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest

from tests.workers.acting import containers, inspect, prove, wait_for
from webapp.samples.models import Sample

pytestmark = pytest.mark.docker

STAT = "cpu  100 0 100 1000 0 0 0 0 0 0\n"
MEMINFO = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n"


def measured(times: int = 2) -> dict[tuple[str, int], dict[str, float]]:
    """So many rounds over all hosts and replicas, the last one's readings by subject."""
    from workers.watcher import rows, sampling
    from workers.watcher.cache import ReplicaCache

    async def rounds() -> list[Any]:
        cache, memory = ReplicaCache(), sampling.Memory()
        await cache.refresh_all()
        found: list[Any] = []
        for _ in range(times):
            found = await sampling.measure(await rows.call(sampling._places), cache, memory)
        return found

    return {(kind, subject): dict(values) for kind, subject, values in asyncio.run(rounds())}


def test_a_replica_and_its_host_are_measured(serve: Any, work: Any, machine: Any, engine: Any) -> None:
    replica = serve()
    work()
    prove(replica)
    found = measured()
    mine, host = found["replica", replica.pk], found["host", machine.pk]
    assert mine["memory_bytes"] > 4096
    assert 0 <= mine["cpu_cores"] <= machine.cpu_count
    assert mine["requests_running"] == 0
    assert 0 < host["memory_bytes"] < machine.memory_bytes
    assert 0 <= host["cpu_cores"] <= machine.cpu_count * 1.1
    assert containers(engine, "sampler") == []


def test_rates_need_two_rounds_and_begin_anew_with_a_new_run(serve: Any, work: Any) -> None:
    replica = serve()
    work()
    prove(replica)
    assert "cpu_cores" not in measured(times=1)["replica", replica.pk]
    assert "cpu_cores" in measured(times=2)["replica", replica.pk]


def test_a_host_that_does_not_answer_costs_nobody_else_a_sample(serve: Any, work: Any, machine: Any) -> None:
    from webapp.inventory import services as inventory

    gone = inventory.register_host(None, "gone", "unix:///nowhere/docker.sock")
    replica = serve()
    work()
    prove(replica)
    found = measured(times=1)
    assert ("replica", replica.pk) in found
    assert ("host", gone.pk) not in found


def test_a_container_that_has_gone_has_no_sample(serve: Any, work: Any, engine: Any) -> None:
    replica = serve()
    work()
    prove(replica)
    with contextlib.closing(engine.client()) as client:
        client.remove_container(replica.container_name, force=True)
    assert ("replica", replica.pk) not in measured(times=1)


def test_another_machine_is_measured_by_its_sampler(engine: Any, machine: Any, monkeypatch: Any) -> None:
    from workers.controllers.host import orphans, samplers
    from workers.hosts import connection, place

    monkeypatch.setattr(place, "is_this_machine", lambda *about: False)
    says = json.dumps({"at": time.time(), "stat": STAT, "meminfo": MEMINFO, "gpus": ""}).encode()
    engine.import_fake_tools(says)
    runtime = connection.runtime(machine)
    samplers.ensure(runtime, machine, "me")
    first = inspect(engine, samplers.NAME)
    assert first["HostConfig"]["NetworkMode"] == "none"
    assert first["Config"]["User"] == "65534:65534"
    assert orphans.is_known(runtime.inspect(samplers.NAME), machine)
    wait_for(lambda: "stat" in runtime.log_tail(samplers.NAME, 1))
    assert measured(times=1)["host", machine.pk] == {"memory_bytes": 600 * 1024}
    samplers.ensure(runtime, machine, "me")
    monkeypatch.setattr(samplers, "PROGRAM", "another")
    samplers.ensure(runtime, machine, "me")
    assert inspect(engine, samplers.NAME)["Id"] != first["Id"]
    monkeypatch.setattr(place, "is_this_machine", lambda *about: True)
    samplers.ensure(runtime, machine, "me")
    assert containers(engine, "sampler") == []


def test_the_loop_writes_one_round_in_one_statement(serve: Any, work: Any, machine: Any, monkeypatch: Any) -> None:
    from workers.watcher import rows, sampling
    from workers.watcher.cache import ReplicaCache

    monkeypatch.setattr(sampling, "EVERY_S", 0.2)
    replica = serve()
    work()
    prove(replica)

    async def story() -> None:
        cache = ReplicaCache()
        await cache.refresh_all()
        loop = asyncio.create_task(sampling.run(cache))
        try:
            async with asyncio.timeout(300):
                while not await rows.call(_is_there, replica.pk):
                    await asyncio.sleep(0.05)
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

    asyncio.run(story())
    kinds = set(Sample.objects.values_list("kind", "resolution_s"))
    assert kinds == {("host", 10), ("replica", 10)}


def _is_there(replica_id: int) -> bool:
    return Sample.objects.filter(kind="replica", subject_id=replica_id).exists()
