"""The watcher around a real Docker engine: what it notices, what it writes down, and that it never loses its place."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.workers.acting import containers, engine_pid, reload

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]
Way = Callable[..., str]


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[None]:
    from workers.watcher import main

    task = asyncio.create_task(main.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any], limit_s: float = 300) -> None:
    """Ask the database beside the loop until it says yes."""
    async with asyncio.timeout(limit_s):
        while not await asyncio.to_thread(_with_connection, condition):
            await asyncio.sleep(0.02)


def _with_connection(condition: Callable[[], Any]) -> Any:
    from django.db import connection

    try:
        return condition()
    finally:
        connection.close()


async def do(action: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(_with_connection, lambda: action(*arguments))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.watcher import main, probing

    monkeypatch.setattr(main, "REFRESH_EVERY_S", 0.2)
    monkeypatch.setattr(probing, "HEALTH_EVERY_S", 0.2)
    monkeypatch.setattr(probing, "AGAIN_S", 0.1)


def log_of(replica: Any) -> list[str]:
    return "".join(replica.log_chunks.order_by("offset").values_list("text", flat=True)).splitlines()


def state(replica: Any, wanted: str) -> Callable[[], bool]:
    return lambda: reload(replica).state == wanted


def test_a_started_engine_becomes_ready_and_its_own_figures_are_kept(serve: Serve, work: Any, way: Way) -> None:
    async def story() -> None:
        async with watching():
            replica = await do(lambda: serve(image=way("slow-load", load_ms=400)))
            await do(work)
            await until(state(replica, "ready"))
            assert replica.proven_at and replica.ready_at
            assert replica.capabilities == {"tools": None, "vision": None, "audio": None, "context_length": None}
            await until(lambda: reload(replica).observed)
            assert replica.observed == {"CPU_Mapped weights": 96573850}
            await until(lambda: len(log_of(replica)) == 2)
            assert (await do(log_of, replica))[1] == "fake engine listens on 8080"

    asyncio.run(story())


def test_what_an_engine_answers_instead_is_the_reason_while_it_loads(serve: Serve, work: Any, way: Way) -> None:
    async def story() -> None:
        async with watching():
            replica = await do(lambda: serve(image=way("refusing", refuses=1)))
            await do(work)
            await until(lambda: reload(replica).reason_code == "not_serving")
            assert replica.reason == "The engine answers 400: Pooling type 'none' is not OAI compatible"
            assert replica.state == "loading"

    asyncio.run(story())


def test_a_death_wakes_the_workers_at_once(
    serve: Serve, work: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.watcher import probing

    # No question of health finds it first.
    monkeypatch.setattr(probing, "HEALTH_EVERY_S", 3600)

    async def story() -> None:
        async with watching():
            replica = await do(serve)
            await do(work)
            await until(state(replica, "ready"))
            work.now.clear()
            with contextlib.closing(engine.client()) as client:
                await do(client.kill, replica.container_name)
            async with asyncio.timeout(300):
                while ("deployments.reconcile", replica.pk) not in work.now:
                    await asyncio.sleep(0.01)
            await do(work)
            assert (await do(reload, replica)).reason_code == "killed"

    asyncio.run(story())


def test_no_log_line_is_lost_or_doubled_when_the_watcher_is_restarted(serve: Serve, work: Any, way: Way) -> None:
    async def story() -> None:
        async with watching():
            replica = await do(lambda: serve(image=way("talking", talk_ms=30)))
            await do(work)
            await until(lambda: len(log_of(replica)) > 10)
        before = len(await do(log_of, replica))
        async with watching():
            await until(lambda: len(log_of(replica)) > before + 20)
        said = [int(line.split()[1]) for line in await do(log_of, replica) if line.startswith("line ")]
        assert said == list(range(len(said)))

    asyncio.run(story())


def test_an_engine_that_stops_answering_leaves_the_routes(
    serve: Serve, work: Any, engine: Any, monkeypatch: Any
) -> None:
    from webapp.engines.base import ProbeSpec
    from webapp.engines.llamacpp.adapter import LlamaCpp

    monkeypatch.setattr(LlamaCpp, "health_probe", lambda self: ProbeSpec("GET", "/health", timeout_s=1))

    async def story() -> None:
        async with watching():
            replica = await do(serve)
            await do(work)
            await until(state(replica, "ready"))
            os.kill(engine_pid(engine, replica.container_name), signal.SIGSTOP)
            await until(state(replica, "loading"))
            assert replica.reason_code == "unhealthy" and "3 consecutive" in replica.reason

    asyncio.run(story())


def test_a_lost_replica_that_is_well_is_ready_again(serve: Serve, work: Any, engine: Any) -> None:
    from webapp.deployments.models import Replica

    async def story() -> None:
        async with watching():
            replica = await do(serve)
            await do(work)
            await until(state(replica, "ready"))
            await do(lambda: Replica.objects.update(state="lost"))
            await do(work.send, "deployments.reconcile", replica.pk)
            await do(work)
            await until(state(replica, "ready"))
            assert replica.attempt == 1 and len(containers(engine)) == 1

    asyncio.run(story())


def test_an_image_that_cannot_be_pulled_is_told_with_advice(serve: Serve, work: Any) -> None:
    async def story() -> None:
        async with watching():
            replica = await do(lambda: serve(image="registry.invalid/nobody/nothing:1"))
            await do(work)
            assert (await do(reload, replica)).state == "pulling"
            await until(state(replica, "failed"))
            assert replica.reason_code == "image_missing" and "registry.invalid" in replica.reason
            assert replica.advice and replica.next_due_at

    asyncio.run(story())


def test_a_jobs_progress_reaches_its_row_and_its_words_its_log(
    machine: Any, engine: Any, ada: Any, team: Any, work: Any
) -> None:
    from tests.workers.conftest import make_artifact
    from webapp.jobs import logs
    from webapp.jobs import services as jobs

    engine.import_fake_tools()
    params = {"source_path": "/tmp/slow.gguf", "member": None, "files": []}

    async def story() -> None:
        async with watching():
            artifact = await do(make_artifact, machine)
            job = await do(lambda: jobs.queue_fetch(ada, team, artifact, machine, params))
            await do(work)
            await until(lambda: reload(job).step == "copy")
            assert (job.done, job.total, job.unit) == (512, 1024, "bytes")
            await until(lambda: logs.tail(job).text == "copy: x\n")
        async with watching():  # started again, it reads nothing twice
            await do(engine.remove_containers)
            await until(lambda: ("jobs.reconcile", job.pk) in work.now)
        assert (await do(logs.whole, job)) == "copy: x\n"

    asyncio.run(story())


def test_a_silent_engine_is_noticed_and_its_return_too(
    serve: Serve, work: Any, engine: Any, machine: Any, monkeypatch: Any
) -> None:
    from workers.hosts import connection
    from workers.watcher import hosts

    monkeypatch.setattr(hosts, "SIGN_OF_LIFE_EVERY_S", 0.2)
    monkeypatch.setattr(hosts, "SIGN_OF_LIFE_WITHIN_S", 60.0)

    async def story() -> None:
        async with watching():
            replica = await do(serve)
            await do(work)
            await until(state(replica, "ready"))
            engine.freeze()
            try:
                # Impatient only while it is frozen: an engine that is busy is not silent.
                with monkeypatch.context() as impatient:
                    impatient.setattr(hosts, "SIGN_OF_LIFE_WITHIN_S", 1.0)
                    impatient.setattr(connection, "CALL_TIMEOUT_S", 2)
                    await until(lambda: reload(machine).state == "unreachable")
            finally:
                engine.thaw()
            work.now.clear()
            async with asyncio.timeout(300):
                while ("inventory.probe_host", machine.pk) not in work.now:
                    await asyncio.sleep(0.05)
            await do(work)
            assert (await do(reload, machine)).state == "online"
            assert machine.back_at > machine.lost_at
            assert (await do(reload, replica)).state == "ready"

    asyncio.run(story())
