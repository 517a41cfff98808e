"""What was quantised here is deployed: real workers, vLLM in a real container, an answer through the gateway."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from tests.parts.stack import Stack
from tests.workers.acting import inspect, reload
from tests.workers.test_stack import wait_until_up
from workers.launcher import images, python_images

pytestmark = [pytest.mark.docker, pytest.mark.quant]

# Few samples: what is proved is that the engine loads the result and answers with it.
FEW = {
    "awq": {"group_size": 64, "samples": 4, "length": 64, "grid": 4},
    "gptq": {"group_size": 64, "samples": 4, "length": 64},
    "int8": {"samples": 4, "length": 64},
}
# Minutes where two processors are shared: a start is mostly the program's own imports.
READY_S = 300


@pytest.fixture(scope="module")
def vllm(quantisers: Any) -> None:
    client = docker.DockerClient(quantisers.endpoint, timeout=600)
    with contextlib.closing(client):
        images.ensure_local(client, python_images.VLLM)


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


@pytest.fixture
def stack(machine: Any, quantisers: Any) -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.start("broker", "worker", "beat", "watcher", "web", "gateway")
        wait_until_up(stack)
        yield stack
    finally:
        stack.stop()
        with contextlib.closing(quantisers.client()) as client:
            for container in client.containers(all=True):
                client.remove_container(container["Id"], force=True)
        # pytest shows it when the test failed.
        print("\n".join(f"--- {name}\n{stack.log(name)[-3000:]}" for name in ("worker", "watcher", "gateway")))


@pytest.fixture
def made(stack: Stack, published: Any, machine: Any, ada: Any, team: Any) -> Callable[[str], Any]:
    """SmolLM2 imported and quantised by jobs that real workers carry out."""

    def make(method: str) -> Any:
        from webapp.catalog.models import Artifact
        from webapp.jobs import fetching
        from webapp.quantisation import services
        from webapp.quantisation.recipes import Recipe

        source = until_done(fetching.import_file(ada, team, machine, str(published))).artifact
        recipe = Recipe(method=method, options=FEW[method])
        until_done(services.queue(ada, team, source, recipe, machine))
        return Artifact.objects.get(parent=source)

    return make


def until_done(job: Any) -> Any:
    wait_for(lambda: reload(job).state not in ("queued", "running"), READY_S, lambda: f"{job.state} at {job.phase}")
    assert job.state == "succeeded", (job.reason, job.advice, job.result)
    return job


def wait_for(condition: Callable[[], Any], limit_s: float, say: Callable[[], Any]) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, say()
        time.sleep(0.1)
    return time.monotonic() - began


def ask(port: int, key: str, model: str) -> Any:
    """One question through the gateway."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    question = {"role": "user", "content": "What is the capital of France?"}
    body = {"model": model, "messages": [question], "max_tokens": 12, "temperature": 0}
    with contextlib.closing(line):
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        line.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = line.getresponse()
        return SimpleNamespace(status=answer.status, body=json.loads(answer.read()))


@pytest.mark.parametrize("method", ["awq"])
def test_a_quantised_model_is_served_by_vllm(
    vllm: None, stack: Stack, made: Any, quantisers: Any, machine: Any, ada: Any, team: Any, method: str
) -> None:
    from webapp.accounts import services as accounts
    from webapp.deployments import services

    key = accounts.create_key(ada, team, "reader", ["inference"])[1]
    artifact = made(method)
    options = {"context_length": 512, "parallel_slots": 4}
    wish = services.Wish("capital", artifact, engine="vllm", options=options)
    replica = services.create(ada, team, wish).replicas.get(number=1)
    ready_s = wait_for(
        lambda: reload(replica).state == "ready",
        READY_S,
        lambda: (replica.state, replica.reason, replica.progress_text),
    )
    answer = ask(stack.port, key, "capital")
    container = inspect(quantisers, replica.container_name)
    with contextlib.closing(quantisers.client()) as client:
        memory = client.stats(replica.container_name, stream=False)["memory_stats"]
    print(f"{method}: ready after {ready_s:.1f} s; {memory}; {replica.estimate}; {replica.observed}; {answer.body}")
    assert answer.status == 200, answer.body
    assert "Paris" in answer.body["choices"][0]["message"]["content"]
    assert container["Config"]["Image"] == "modelyard/vllm:cpu"
    services.delete(ada, replica.deployment)
    stopped_s = wait_for(lambda: not type(replica).objects.exists(), 60, lambda: reload(replica).state)
    print(f"gone after {stopped_s:.1f} s")
    assert reload(machine).booked_bytes == 0
