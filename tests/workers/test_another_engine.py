"""An engine that the product has never seen, from the request to an answer through the gateway, on a real Docker."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from django.test import Client

from tests.engines.toy import image
from tests.engines.toy.adapter import Toy
from tests.gateway.stack import Stack
from tests.workers.acting import Line, containers, has_ended, inspect, prove, reload, wait_for
from tests.workers.test_watcher import do, log_of, state, until, watching
from webapp import engines
from webapp.inventory.models import Host
from workers.hosts import connection
from workers.launcher import forwarder

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True)
def toy(engine: Any) -> Iterator[None]:
    """The one line, its image, and the forwarder that it needs: it can only listen on a port."""
    image.bring(engine)
    with contextlib.closing(docker.DockerClient(engine.endpoint, timeout=300)) as client:
        forwarder.ensure_image(client)
    engines.register(Toy())
    yield
    engines.unregister("toy")


@pytest.fixture
def key(ada: Any, team: Any) -> str:
    from webapp.accounts import services as accounts

    return accounts.create_key(ada, team, "test", accounts.SCOPES)[1]


def deploy(key: str, weights: Any, **options: Any) -> Any:
    """Ask for it over the API; the replica that came of it."""
    from webapp.deployments.models import Deployment

    client = Client(headers={"Authorization": f"Bearer {key}"})
    asked = {"name": "box", "artifact": weights.pk, "engine": "toy", "options": options}
    answer = client.post("/api/v1/deployments", json.dumps(asked), content_type="application/json")
    assert answer.status_code == 202, answer.content
    return Deployment.objects.get(name="box").replicas.get()


def test_it_is_placed_started_and_ready_by_its_own_words(key: str, weights: Any, work: Any, engine: Any) -> None:
    from workers.watcher import sampling
    from workers.watcher.cache import ReplicaCache

    async def story() -> None:
        async with watching():
            replica = await do(lambda: deploy(key, weights, stickers=7))
            await do(work)
            await until(state(replica, "ready"))
            assert replica.upstream_model == "toy-box" and replica.port == 7007
            terms = {term["name"]: term["bytes"] for term in replica.estimate}
            assert terms == {"weights": 1 << 20, "stickers": 7 << 20, "clockwork": 3 << 20}
            await until(lambda: reload(replica).observed == {"box weights": 1048576})
            await until(lambda: log_of(replica) == ["toy: unpacked 1048576 bytes", "toy: wound up"])
            cache = ReplicaCache()
            await cache.refresh(replica.pk)
            host = await do(lambda: Host.objects.get(pk=replica.host_id))
            place = sampling.Place(replica.host_id, "machine", connection.of(host), is_here=True)
            readings = await sampling.measure([place], cache, sampling.Memory())
            [told] = [reading.values for reading in readings if reading.kind == "replica"]
            assert (told["requests_running"], told["requests_waiting"]) == (0, 0) and told["memory_bytes"] > 0
        container = inspect(engine, replica.container_name)
        assert container["Config"]["Cmd"] == ["--port", "7007", "--name", "box", "--stickers", "7"]
        assert "TOY_MOOD=steady" in container["Config"]["Env"]
        assert container["HostConfig"]["NetworkMode"] == "none", "a forwarder in its network offers its socket"
        files = f"/models/{weights.pk}"
        assert [mount["Destination"] for mount in container["Mounts"]] == [files], "it gets nothing of ours"
        [helper] = containers(engine, "forwarder")
        assert inspect(engine, helper["Id"])["HostConfig"]["NetworkMode"] == f"container:{container['Id']}"

    asyncio.run(story())


def test_a_request_reaches_it_through_the_gateway(
    key: str, weights: Any, work: Any, tmp_path: Path, engine: Any
) -> None:
    from webapp.accounts import principals
    from webapp.deployments import routes

    replica = deploy(key, weights)
    work()
    prove(replica)
    stack = Stack(tmp_path)
    try:
        stack.web.snapshot = {**principals.build(1), **routes.build(1)}
        stack.start()
        answer = stack.chat("box", key)
        assert (answer.status, answer.json()["choices"][0]["message"]["content"]) == (200, "tick")
        refused = stack.ask("POST", "/v1/embeddings", {"model": "box", "input": "x"}, key)
        assert refused.status == 404, "it serves no embeddings"
    finally:
        stack.stop()


def test_a_running_request_is_waited_for_and_its_own_signal_ends_it(
    key: str, ada: Any, weights: Any, work: Any, engine: Any
) -> None:
    from webapp.deployments import services

    replica = deploy(key, weights)
    work()
    prove(replica)
    connection = Line(replica)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", '{"how":"slowly"}')
        services.stop(ada, replica.deployment)
        work()
        work.pass_time(replica, 2.3)
        assert reload(replica).state == "draining", "its own gauge says that a request is running"
        assert b"tick" in connection.getresponse().read()
    work.pass_time(replica, 1)
    wait_for(lambda: has_ended(engine, replica.container_name))
    work.pass_time(replica, 1)
    assert reload(replica).state == "stopped" and containers(engine) == containers(engine, "forwarder") == []


def test_its_death_is_told_in_its_own_words(key: str, weights: Any, work: Any, engine: Any) -> None:
    replica = deploy(key, weights, mood="brittle")
    work()
    wait_for(lambda: has_ended(engine, replica.container_name))
    work.pass_time(replica, 16)
    assert reload(replica).state == "failed"
    assert (replica.reason_code, replica.advice) == ("model_refused", "Choose a steady mood.")
    assert replica.reason == "The spring broke (toy: the spring broke)."
