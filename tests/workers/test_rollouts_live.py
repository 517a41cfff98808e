"""Rollouts under traffic: real Docker, real workers, real gateway, people who never stop asking."""

import contextlib
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.parts import figures
from tests.parts.stack import Stack
from tests.workers import acting
from tests.workers.test_stack import wait_until_up
from tests.workers.traffic import Traffic

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]


@pytest.fixture
def stack(machine: Any) -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.start("broker", "worker", "beat", "watcher", "web", "gateway")
        wait_until_up(stack)
        yield stack
    finally:
        stack.stop()
        # pytest shows it when the test failed.
        print(stack.last_words())


@pytest.fixture
def work() -> None:
    """Messages go to the real broker here."""


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


@pytest.fixture
def smollm2(engine: Any, machine: Any, weights: Any) -> Any:
    """A real model in the machine's volume, and an image of the real engine."""
    import docker

    from tests.parts.llamacpp import model_file
    from webapp.catalog import gguf
    from webapp.foundation import paths
    from workers.launcher import images
    from workers.runtime.base import MODELS_VOLUME

    with contextlib.closing(docker.DockerClient(base_url=engine.endpoint)) as client:
        images.ensure_llamacpp_image(client)
    file = model_file(paths.cache_dir())
    with file.open("rb") as opened:
        weights.facts = gguf.facts(gguf.read_header(opened)).as_json()
    weights.main_file, weights.size_bytes = file.name, file.stat().st_size
    weights.save()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(file, f"{weights.pk}/{file.name}")
    with contextlib.closing(engine.client()) as client:
        mounts = client.create_host_config(binds={MODELS_VOLUME: {"bind": "/models", "mode": "rw"}})
        box = client.create_container("modelyard-test/engine:1", host_config=mounts, volumes=["/models"])
        assert client.put_archive(box["Id"], "/models", buffer.getvalue())
        client.remove_container(box["Id"])
    return weights


@pytest.fixture
def key(ada: Any, team: Any) -> str:
    from webapp.accounts import services as accounts

    return accounts.create_key(ada, team, "traffic", ["inference"])[1]


def wait_for(deployment: Any, rollout: str, limit_s: float = 1200) -> float:
    """Until the newest rollout is in this state, and nothing is left to do."""
    began = time.monotonic()
    while True:
        deployment.refresh_from_db()
        newest = deployment.rollouts.order_by("-number").first()
        leaving = deployment.replicas.present().exclude(retired_at=None).exists()
        if newest.state == rollout and deployment.next_due_at is None and not leaving:
            return time.monotonic() - began
        states = [(r.number, r.generation, r.state, r.reason) for r in deployment.replicas.present()]
        assert time.monotonic() - began < limit_s, (newest.state, newest.reason, states)
        time.sleep(0.05)


def await_more(traffic: Traffic, answers: int = 20) -> None:
    """Until so many more people have had their answer; others are being served then."""
    wanted = traffic.asked + answers
    acting.wait_for(lambda: traffic.asked >= wanted)


def events(deployment: Any) -> str:
    return "\n".join(
        f"{e.at:%M:%S.%f} #{e.replica_ordinal} {e.new_state} {e.text}" for e in deployment.events.order_by("id")
    )


def test_an_edit_of_two_replicas_fails_no_request(stack: Stack, serve: Serve, way: Any, ada: Any, key: str) -> None:
    from webapp.deployments import services

    deployment = serve(replicas=2, image=way("steady", token_ms=15, load_ms=300)).deployment
    print(f"first start {wait_for(deployment, 'done'):.1f} s")
    with Traffic(stack.port, key, "tiny") as traffic:
        await_more(traffic)
        services.edit(ada, deployment, services.DeploymentPatch({"options": {"context_length": 2048}}))
        took_s = wait_for(deployment, "done")
        await_more(traffic)
    print(f"{traffic.asked} requests, {traffic.outcomes}, rollout {took_s:.1f} s\n{events(deployment)}")
    figures.tell("edit of a deployment with two replicas: failed requests", len(traffic.failures), 0, "")
    assert traffic.failures == []
    assert [replica.revision.number for replica in deployment.replicas.present()] == [2, 2]


def test_three_rollouts_one_of_them_hopeless_fail_no_request(
    stack: Stack, serve: Serve, way: Any, ada: Any, key: str
) -> None:
    """Short form of rolling updates under load: the hopeless one stops by itself and everything is as before."""
    from webapp.deployments import services

    deployment = serve(replicas=2, image=way("steady", token_ms=15, load_ms=300)).deployment
    wait_for(deployment, "done")
    # It never answers: one that did for a moment would be given requests, and take them along when it ends.
    ways = {"load_ms": 60_000, "exit_after_ms": 200, "exit_code": 1}
    broken = way("broken", **ways, last_words="error: unknown argument: --nonsense")
    with Traffic(stack.port, key, "tiny", per_s=50) as traffic:
        services.edit(ada, deployment, services.DeploymentPatch({"image": way("better", token_ms=12, load_ms=300)}))
        wait_for(deployment, "done")
        services.edit(ada, deployment, services.DeploymentPatch({"image": broken}))
        failed_s = wait_for(deployment, "failed")
        services.restart(ada, deployment)
        wait_for(deployment, "done")
        await_more(traffic)
    print(f"{traffic.asked} requests, {traffic.outcomes}; the hopeless one took {failed_s:.1f} s\n{events(deployment)}")
    assert traffic.failures == []
    assert deployment.image.endswith("better:1")
    hopeless = deployment.rollouts.get(state="failed")
    assert hopeless.reason
    assert {replica.revision.number for replica in deployment.replicas.present()} == {2}


def test_scaling_down_and_stopping_cut_no_stream_short(
    stack: Stack, serve: Serve, way: Any, ada: Any, key: str
) -> None:
    from webapp.deployments import services

    deployment = serve(replicas=3, image=way("slow", token_ms=100)).deployment
    wait_for(deployment, "done")
    with Traffic(stack.port, key, "tiny", tokens=40) as traffic:
        await_more(traffic)
        services.scale(ada, deployment, 1)
        await_more(traffic)
    wait_for(deployment, "done")
    assert traffic.failures == []
    assert deployment.replicas.present().count() == 1
    with Traffic(stack.port, key, "tiny", tokens=40) as traffic:
        await_more(traffic, 5)
    streams = Traffic(stack.port, key, "tiny", tokens=60)
    with streams:
        await_more(streams, 5)
        services.stop(ada, deployment)
        streams._over.set()
    assert [failure for failure in streams.failures if failure.split()[1] != "503"] == []
    assert streams.outcomes["stream"] + streams.outcomes["json"] >= 5


@pytest.mark.slow
def test_an_edit_of_the_real_engine_fails_no_request(stack: Stack, smollm2: Any, ada: Any, team: Any, key: str) -> None:
    from webapp.deployments import services

    asked = services.DeploymentSpec("tiny", artifact=smollm2, replicas=2, options={"context_length": 512, "threads": 1})
    deployment = services.create(ada, team, asked)
    print(f"first start {wait_for(deployment, 'done'):.1f} s")
    with Traffic(stack.port, key, "tiny", per_s=2, tokens=6, are_numbered=False) as traffic:
        await_more(traffic, 6)
        services.edit(ada, deployment, services.DeploymentPatch({"options": {"context_length": 768, "threads": 1}}))
        took_s = wait_for(deployment, "done")
        await_more(traffic, 6)
    print(f"{traffic.asked} requests, {traffic.outcomes}, rollout {took_s:.1f} s\n{events(deployment)}")
    assert traffic.failures == []
    assert traffic.outcomes["stream"] > 5 and traffic.outcomes["json"] > 5
