"""Quantised, measured, deployed: real workers, vLLM in real containers, an answer through the gateway.

vLLM's kernel for 4 bits needs AVX-512. What is asserted of AWQ and GPTQ follows the host's own record of its
processors: served where they have it, else made, judged and refused with the reason.
"""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.parts.importing import import_as_told
from tests.parts.quantisers import put_images
from tests.parts.stack import Stack
from tests.workers.acting import inspect, reload
from workers.launcher import python_images
from workers.watcher import readings

pytestmark = [pytest.mark.docker, pytest.mark.quant]

# Few samples: what is proved is the chain, not the quality that the methods can reach.
FEW = {
    "awq": {"group_size": 64, "samples": 4, "length": 64, "grid": 4},
    "gptq": {"group_size": 64, "samples": 4, "length": 64},
    "int8": {"samples": 4, "length": 64},
}
# A start is mostly imports: half a minute on idle processors, five minutes where ten programs share two of them.
READY_S = 900
GIB = 1024**3
FOUR_BITS = ("awq", "gptq")
NO_KERNEL = "with 4 bits on processors without AVX-512."


def runs_on(machine: Any, method: str) -> bool:
    """Whether vLLM serves what the method makes on this machine's processors."""
    assert machine.processor.flags, "nobody has looked at its processors"
    return method not in FOUR_BITS or "avx512f" in machine.processor.flags


@pytest.fixture(scope="module")
def vllm(torch_quantisers: Any) -> None:
    put_images(torch_quantisers, python_images.VLLM)


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


@pytest.fixture
def stack(plant: Stack) -> Stack:
    """The processes at work, with web and gateway."""
    plant.start("web", "gateway")
    return plant


@pytest.fixture(scope="module")
def baselines() -> list[dict[str, Any]]:
    """What was measured of the source, carried from one test's database to the next one's: half a minute each."""
    return []


@pytest.fixture
def made(
    stack: Stack, published: Any, machine: Any, ada: Any, team: Any, baselines: list[dict[str, Any]]
) -> Callable[..., tuple[Any, Any]]:
    """SmolLM2 imported and quantised by jobs that real workers carry out: the source, and the job."""

    def make(method: str, options: Any, measure: Any = None) -> tuple[Any, Any]:
        from webapp.quantisation import services
        from webapp.quantisation.models import Measurement
        from webapp.quantisation.recipes import Measure, Recipe

        source = until_done(import_as_told(ada, team, machine, published)).artifact
        for row in baselines:
            Measurement.objects.create(artifact=source, host=machine, **row)
        recipe = Recipe(method=method, options=options)
        wanted = Measure(**measure) if measure else None
        return source, until_done(services.queue(ada, team, source, recipe, machine, None, wanted))

    return make


def until_done(job: Any) -> Any:
    """Each step has the whole time: how long they take together is the machine's affair."""
    while reload(job).state in ("queued", "running"):
        seen = job.phase, job.state
        wait_for(lambda seen=seen: (reload(job).phase, job.state) != seen, READY_S, lambda: job.step)
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


def check_judged(source: Any, made: Any, job: Any) -> Any:
    """Quality is judged on the scale of all methods; the row of what was measured."""
    from webapp.quantisation.models import Measurement
    from webapp.quantisation.recipes import of_json

    assert (made.format, made.main_file) == ("safetensors", "config.json")
    assert made.quantisation == of_json(job.params["recipe"]).label
    assert made.facts["parameters"] == source.facts["parameters"]
    row = Measurement.objects.get(artifact=made)
    values, took = row.values, {name: said.get("seconds") for name, said in job.result.items()}
    print(f"{made.quantisation}: {took} s; {json.dumps(values)}")
    # The source itself differs by rounding alone; what is broken would be in the thousands.
    assert 10 < values["base_perplexity"] < 60 and 10 < values["perplexity"] < 120
    assert 0 < values["kl_divergence"] < 2 and 40 < values["top1_agreement_percent"] <= 100
    assert values["size_bytes"] == sum(file["size_bytes"] for file in made.files) < source.size_bytes
    assert {"config.json", "tokenizer.json"} <= {file["name"] for file in made.files}
    return row


def check_timed(row: Any, job: Any) -> None:
    """Speed is measured by the engine that will serve it."""
    values = row.values
    assert "speed_missing" not in values and "vllm 0." in row.tool
    assert [one["streams"] for one in values["speed"]] == [1, 8]
    assert all(one["prompt_per_s"] > 1 and one["decode_per_s"] > 1 for one in values["speed"])
    assert values["load_s"] > 1
    # Its cache alone has 1 GiB; the container had no more than what the job reserved, and a margin.
    assert GIB < values["peak_memory_bytes"] < job.params["needs"]["memory_bytes"]


def check_untimed(row: Any, job: Any, words: str) -> None:
    """The job went on without the step, and tells why on its page and with its result."""
    assert words in row.values["speed_missing"] and "speed" not in row.values
    rows = {step["name"]: step for step in job.plan}
    assert rows["speed"]["state"] == "skipped" and words in rows["speed"]["why"]
    assert job.result["baseline"]["missing"] == "The result was not timed, so there is nothing to compare."


def check_baseline(source: Any, job: Any, baselines: list[dict[str, Any]]) -> None:
    """The source is timed by the same engine, once."""
    from webapp.quantisation.models import Measurement

    row, said = Measurement.objects.get(artifact=source), job.result["baseline"]
    if baselines:
        assert said["missing"].startswith("It was measured before"), said
        return
    print(f"the source: {said['seconds']} s; {json.dumps(row.values)}")
    assert [one["streams"] for one in row.values["speed"]] == [1, 8] and row.tool == said["tool"]
    assert row.values["load_s"] > 1 and row.values["peak_memory_bytes"] > GIB
    depends_on = ("text_name", "text_sha256", "context", "chunks", "tool", "values")
    baselines.append({name: getattr(row, name) for name in depends_on})


@pytest.fixture
def serve(vllm: None, stack: Stack, quantisers: Any, machine: Any, ada: Any, team: Any) -> Callable[[Any], None]:
    """Deploy an artifact, have a question answered through the gateway, and take it away again."""

    def served(artifact: Any) -> None:
        from webapp.accounts import services as accounts
        from webapp.deployments import services

        key = accounts.create_key(ada, team, "reader", ["inference"])[1]
        asked = services.DeploymentSpec(
            "capital", artifact=artifact, engine="vllm", options={"context_length": 512, "parallel_slots": 4}
        )
        replica = services.create(ada, team, asked).replicas.get(number=1)
        ready_s = wait_for(lambda: reload(replica).state == "ready", READY_S, lambda: (replica.state, replica.reason))
        answer = ask(stack.port, key, "capital")
        assert answer.status == 200, answer.body
        assert "Paris" in answer.body["choices"][0]["message"]["content"]
        assert inspect(quantisers, replica.container_name)["Config"]["Image"] == "modelyard/vllm:cpu"
        used_bytes, estimated_bytes = held_bytes(quantisers, replica), sum(term["bytes"] for term in replica.estimate)
        print(f"ready after {ready_s:.1f} s, {used_bytes / GIB:.2f} GiB, estimated {estimated_bytes / GIB:.2f} GiB")
        assert 0.7 < used_bytes / estimated_bytes < 1.25, "a limit of 1.25 times the estimate must do"
        assert reload(replica).observed == {"vllm kv_cache": GIB}
        services.delete(ada, replica.deployment)
        stopped_s = wait_for(lambda: not type(replica).objects.exists(), 120, lambda: reload(replica).state)
        print(f"gone after {stopped_s:.1f} s")
        assert reload(machine).reserved_bytes == 0

    return served


@pytest.fixture
def is_refused(machine: Any, ada: Any, team: Any) -> Callable[[Any], None]:
    """Before anything starts, with the reason and the ways out."""

    def asked(artifact: Any) -> None:
        from webapp.deployments import services
        from webapp.foundation.errors import Invalid

        for pinned in (None, machine):
            with pytest.raises(Invalid, match=NO_KERNEL) as refusal:
                services.create(
                    ada, team, services.DeploymentSpec("capital", artifact=artifact, engine="vllm", host=pinned)
                )
            assert "GGUF with llama.cpp" in str(refusal.value) and "INT8" in str(refusal.value)
        assert reload(machine).reserved_bytes == 0

    return asked


@pytest.mark.parametrize("method", FEW)
def test_a_quantised_model_is_measured_and_served_by_vllm(
    made: Any, serve: Any, is_refused: Any, machine: Any, baselines: Any, method: str
) -> None:
    from webapp.catalog.models import Artifact

    source, job = made(method, FEW[method], {"chunks": 2, "context": 256})
    artifact = Artifact.objects.get(parent=source)
    row = check_judged(source, artifact, job)
    if not runs_on(machine, method):
        check_untimed(row, job, NO_KERNEL)
        is_refused(artifact)
        return
    check_timed(row, job)
    check_baseline(source, job, baselines)
    serve(artifact)


@contextlib.contextmanager
def recorded(machine: Any, flags: frozenset[str]) -> Iterator[None]:
    """The host's record says other flags than its processors have, and no look at them mends it meanwhile."""
    before = dict(machine.facts)
    lie = {"name": machine.processor.name, "flags": sorted(flags)}
    type(machine).objects.filter(pk=machine.pk).update(
        facts={**before, "processor": lie, "accelerators_at": time.time() + 3600}
    )
    machine.refresh_from_db()
    try:
        yield
    finally:
        type(machine).objects.filter(pk=machine.pk).update(facts=before)


def test_what_the_record_says_of_the_processors_decides_and_a_wrong_one_ends_in_words(
    made: Any, vllm: None, is_refused: Any, machine: Any, ada: Any, team: Any
) -> None:
    """The other kind of machine: masked flags are refused where the processors have them; where they do not, flags that
    are not there let vLLM try and find that it has no kernel."""
    from webapp.catalog.models import Artifact
    from webapp.deployments import services

    can, flags = runs_on(machine, "awq"), machine.processor.flags
    with recorded(machine, flags - {"avx512f"} if can else flags | {"avx512f"}):
        source, job = made("awq", FEW["awq"], {"chunks": 2, "context": 256})
        artifact = Artifact.objects.get(parent=source)
        row = check_judged(source, artifact, job)
        if can:
            check_untimed(row, job, NO_KERNEL)
            is_refused(artifact)
            return
        check_untimed(row, job, "vLLM has no kernel for this model on this processor or GPU (it lacks cpu_gemm_wna16).")
        asked = services.DeploymentSpec(
            "capital", artifact=artifact, options={"context_length": 512, "parallel_slots": 4}
        )
        replica = services.create(ada, team, asked).replicas.get(number=1)
        wait_for(lambda: reload(replica).state == "failed", READY_S, lambda: (replica.state, replica.reason))
        assert (replica.reason_code, replica.next_due_at) == ("kernel_missing", None), replica.reason
        assert "(it lacks cpu_gemm_wna16)" in replica.reason
        services.delete(ada, replica.deployment)
        wait_for(lambda: not type(replica).objects.exists(), 120, lambda: reload(replica).state)


def test_eight_bit_floats_are_served_on_processors_too(made: Any, serve: Any) -> None:
    """They are measured like the others, so that is left out here."""
    from webapp.catalog.models import Artifact

    source, _job = made("fp8", {})
    serve(Artifact.objects.get(parent=source))


def held_bytes(engine: Any, replica: Any) -> float:
    """What its processes hold; files that the kernel keeps for them are not theirs."""
    with contextlib.closing(engine.client()) as client:
        usage = readings.container(client.stats(replica.container_name, stream=False))
    assert usage is not None
    return usage.values["memory_bytes"]
