"""SmolLM2 quantised for real: from its published files to a measured artifact."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from tests.parts import figures
from tests.workers.acting import reload
from workers.launcher import images

pytestmark = [pytest.mark.docker, pytest.mark.quant]


# The first is easy for SmolLM2 at any number of bits, the second never true, the third an answer nobody gives.
ASKED = [
    {"prompt": "Say hello.", "way": "contains", "expected": "hello"},
    {"prompt": "What is the capital of France?", "way": "matches", "expected": "(?!)"},
    {"prompt": "Count from one to three, with commas.", "way": "equals", "expected": "[1],[2],"},
]


def quantise(ada: Any, team: Any, source: Any, machine: Any, method: str, measure: Any, **options: Any) -> Any:
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Measure, Recipe

    recipe = Recipe(method=method, options=options)
    asked = services.add_prompts(ada, team, "easy and not", ASKED)
    return services.queue(ada, team, source, recipe, machine, None, Measure(**measure), prompts=asked)


def was_asked(job: Any, values: Any) -> None:
    """One of the three golden prompts was answered as expected, and what was answered to the others is told."""
    assert (values["prompts_passed"], values["prompts_total"], values["prompts_passed_percent"]) == (1, 3, 33.33)
    assert all(one["answer"] for one in job.result["prompts"]["missed"])
    print("golden prompts:", job.result["prompts"])


def in_volume(engine: Any, code: str) -> str:
    with contextlib.closing(docker.DockerClient(engine.endpoint)) as client:
        volumes = {"modelyard-models": {"bind": "/models", "mode": "ro"}}
        said = client.containers.run("modelyard/tools:1", ["python3", "-c", code], volumes=volumes, remove=True)
    return said.decode()


def closed_in_volume(engine: Any, *artifacts: Any) -> str:
    """What of these artifacts another user than the jobs' could not read."""
    code = (
        "import os, pathlib, sys\n"
        "for root in map(pathlib.Path, sys.argv[1:]):\n"
        "    for path in (root, *root.rglob('*')):\n"
        "        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)): print(path)\n"
    )
    folders = [f"/models/{artifact.pk}" for artifact in artifacts]
    with contextlib.closing(docker.DockerClient(engine.endpoint)) as client:
        said = client.containers.run(
            "modelyard/tools:1", ["python3", "-c", code, *folders], user="0:0", cap_drop=["ALL"], remove=True,
            volumes={"modelyard-models": {"bind": "/models", "mode": "ro"}},
        )  # fmt: skip
    return said.decode()


def by_hand(engine: Any, source: Any) -> dict[str, str]:
    """What llama.cpp's own programs print when a person calls them with the same settings."""
    from webapp.quantisation import shipping

    tools = "/opt/llama.cpp/bin"
    size = ["-c", "512", "-t", str(len(os.sched_getaffinity(0)))]
    perplexity = [f"{tools}/llama-perplexity", *size, "--chunks", "3"]
    steps = [
        [
            f"{tools}/llama-imatrix",
            "-m",
            "/job/half.gguf",
            "-f",
            "/job/calibration.txt",
            "-o",
            "/job/imatrix.gguf",
            *size,
            "--chunks",
            "4",
        ],
        [
            f"{tools}/llama-quantize",
            "--imatrix",
            "/job/imatrix.gguf",
            "/job/half.gguf",
            "/job/q.gguf",
            "Q4_K_M",
            "2",
        ],
        [*perplexity, "-m", "/job/half.gguf", "-f", "/job/judging.txt", "--kl-divergence-base", "/job/b.kld"],
        [*perplexity, "-m", "/job/q.gguf", "--kl-divergence-base", "/job/b.kld", "--kl-divergence"],
    ]
    convert = ["python3", "/opt/llama.cpp/convert_hf_to_gguf.py", f"/models/{source.pk}", "--outtype", "f16"]
    orders = [[*convert, "--model-name", "SmolLM2-135M-Instruct", "--outfile", "/job/half.gguf"], *steps]
    texts = {"/job/calibration.txt": shipping.CALIBRATION, "/job/judging.txt": shipping.JUDGING}
    program = (
        "import json, os, pathlib, subprocess\n"
        "os.chdir('/job')\n"
        "for name, text in json.loads(os.environ['TEXTS']).items(): pathlib.Path(name).write_text(text)\n"
        "for argv in json.loads(os.environ['ORDERS']):\n"
        "    subprocess.run(argv, check=True, stderr=subprocess.STDOUT)\n"
        "print('size', os.path.getsize('q.gguf'))\n"
    )
    environment = {
        "TEXTS": json.dumps({name: shipping.SHIPPED[text].read_text() for name, text in texts.items()}),
        "ORDERS": json.dumps(orders),
    }
    with contextlib.closing(docker.DockerClient(engine.endpoint, timeout=300)) as client:
        said = client.containers.run(
            "modelyard/quantizer-gguf:1", ["python3", "-c", program], environment=environment, remove=True,
            volumes={"modelyard-models": {"bind": "/models", "mode": "ro"}}, network_mode="none",
            tmpfs={"/job": ""}, user="0",
        ).decode()  # fmt: skip
    wanted = {
        "perplexity": r"Mean PPL\(Q\)\s*:\s*([\d.]+)",
        "kl_divergence": r"Mean\s+KLD:\s*([\d.]+)",
        "top1_agreement_percent": r"Same top p:\s*([\d.]+)",
        "size_bytes": r"^size (\d+)$",
    }
    return {name: re.search(pattern, said, re.MULTILINE)[1] for name, pattern in wanted.items()}  # type: ignore[index]


def test_a_folder_becomes_a_measured_q4_k_m(source: Any, machine: Any, ada: Any, team: Any, driver: Any) -> None:
    from webapp.catalog.models import Artifact
    from webapp.quantisation.models import Measurement

    job = quantise(ada, team, source, machine, "gguf", {"chunks": 3}, type="Q4_K_M", calibration_chunks=4)
    began = time.monotonic()
    driver.until_ended(job)
    took = time.monotonic() - began
    assert job.state == "succeeded", (job.reason, job.advice, job.result)
    made = Artifact.objects.get(parent=source)
    assert (made.format, made.quantisation) == ("gguf", "Q4_K_M")
    assert made.copies.get().state == "present"
    measured = Measurement.objects.get(artifact=made)
    tools = sum(step["seconds"] for step in job.result.values())
    print(f"{took:.1f} s, of which {tools:.1f} s are the tools' own; {json.dumps(measured.values)}")
    figures.tell("SmolLM2 to Q4_K_M, beyond the tools' own time", took - tools, tools * 0.1 + 5, "s")
    was_asked(job, measured.values)
    baseline = Measurement.objects.get(artifact=source)
    for row in (measured, baseline):
        assert [one["streams"] for one in row.values["speed"]] == [1, 8] and row.tool.startswith("llama.cpp")
        assert 0 < row.values["load_s"] < took and row.values["peak_memory_bytes"] > made.size_bytes
    assert baseline.values["peak_memory_bytes"] > measured.values["peak_memory_bytes"], "it is the larger file"
    assert made.facts["name"] == "SmolLM2-135M-Instruct" and made.recipe["tools"][0].startswith("llama.cpp")
    files = in_volume(driver.engine, f"import os; print(os.listdir('/models/{made.pk}'), os.listdir('/models/.work'))")
    assert made.main_file in files and files.strip().endswith("[]")
    assert closed_in_volume(driver.engine, source, made) == ""
    assert driver.names() == []
    assert reload(machine).reserved_bytes == 0
    hand = by_hand(driver.engine, source)
    assert {name: float(measured.values[name]) for name in hand} == {name: float(said) for name, said in hand.items()}


@pytest.fixture
def without_vllm(quantisers: Any) -> Iterator[None]:
    """As on a host where nobody ran `make quantizers` since vLLM's image is part of it."""
    tag, kept = "modelyard/vllm:cpu", "modelyard-test/kept:1"
    with contextlib.closing(docker.DockerClient(quantisers.endpoint)) as client:
        image = images.find(client, tag)
        if image is not None:
            image.tag(*kept.split(":"))
            client.images.remove(tag)
        yield
        if image is not None:
            image.tag(*tag.split(":"))
            client.images.remove(kept)


@pytest.mark.usefixtures("torch_quantisers", "without_vllm")
def test_without_vllm_the_result_is_published_and_says_why_its_speed_is_missing(
    source: Any, machine: Any, ada: Any, team: Any, driver: Any
) -> None:
    from webapp.catalog.models import Artifact
    from webapp.quantisation.models import Measurement

    job = quantise(ada, team, source, machine, "fp8", {"chunks": 2, "context": 256})
    driver.until_ended(job)
    assert job.state == "succeeded", (job.reason, job.advice, job.result)
    made = Artifact.objects.get(parent=source)
    assert (made.format, made.main_file, made.quantisation) == ("safetensors", "config.json", "FP8")
    values = Measurement.objects.get(artifact=made).values
    assert 0 < values["kl_divergence"] < 2 and 40 < values["top1_agreement_percent"] <= 100
    assert values["speed_missing"].startswith("The image modelyard/vllm:cpu is not on quantisers.")
    assert "make quantizers" in values["speed_missing"] and "speed" not in values
    assert job.result["baseline"]["missing"] == "The result was not timed, so there is nothing to compare."
    was_asked(job, values)
    assert values["size_bytes"] == sum(file["size_bytes"] for file in made.files) < source.size_bytes
    assert {"config.json", "tokenizer.json"} <= {file["name"] for file in made.files}
    assert closed_in_volume(driver.engine, source, made) == ""
