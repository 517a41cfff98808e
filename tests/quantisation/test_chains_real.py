"""SmolLM2 quantised for real: from its published files to a measured artifact."""

import contextlib
import json
import time
from typing import Any

import docker
import pytest

from tests.workers.acting import reload

pytestmark = [pytest.mark.docker, pytest.mark.quant]


def quantise(ada: Any, team: Any, source: Any, machine: Any, method: str, measure: Any, **options: Any) -> Any:
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Measure, Recipe

    recipe = Recipe(method=method, options=options)
    return services.queue(ada, team, source, recipe, machine, None, Measure(**measure) if measure else None)


def in_volume(engine: Any, code: str) -> str:
    with contextlib.closing(docker.DockerClient(engine.endpoint)) as client:
        volumes = {"modelyard-models": {"bind": "/models", "mode": "ro"}}
        said = client.containers.run("modelyard/tools:1", ["python3", "-c", code], volumes=volumes, remove=True)
    return said.decode()


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
    print(json.dumps(measured.values), took, job.result)
    tools = sum(step["seconds"] for step in job.result.values())
    print("tools", tools)
    assert took <= tools * 1.1 + 5 + 8, f"{took:.1f} s for {tools:.1f} s of tools"
    files = in_volume(driver.engine, f"import os; print(os.listdir('/models/{made.pk}'), os.listdir('/models/.work'))")
    assert made.main_file in files and files.strip().endswith("[]")
    assert driver.names() == []
    assert reload(machine).booked_bytes == 0
