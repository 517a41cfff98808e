"""A Docker engine with the quantisers' images, SmolLM2 as its publisher has it, and who carries jobs on: a driver that
plays worker, or the real processes."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.parts import llamacpp, smollm2
from tests.parts import quantisers as parts
from tests.parts.dockerd import running_dockerd
from tests.parts.importing import import_as_told
from tests.parts.stack import Stack
from tests.workers.acting import reload
from tests.workers.conftest import register
from tests.workers.test_stack import wait_until_up
from webapp.foundation.paths import cache_dir
from workers.launcher import python_images

# Docker answers late while two processors quantise.
LIMIT_S = 600


@pytest.fixture(scope="session")
def quantisers() -> Iterator[Any]:
    """An engine with the images."""
    with running_dockerd(parts.NUMBER) as engine:
        parts.put_images(engine, python_images.GGUF)
        yield engine


@pytest.fixture(scope="session")
def torch_quantisers(quantisers: Any) -> Any:
    """The same engine with the image for safetensors, which is large."""
    parts.put_images(quantisers, python_images.LLMCOMPRESSOR)
    return quantisers


@pytest.fixture
def machine(quantisers: Any, transactional_db: None) -> Any:
    return register(quantisers, "quantisers")


@pytest.fixture(scope="session")
def published(import_folder: Path) -> Path:
    """SmolLM2's 16-bit files in a folder that may be imported from, as a current library saves them whoever filled the
    cache: the weights for their owner alone."""
    target = import_folder / "SmolLM2-135M-Instruct"
    shutil.copytree(smollm2.folder(), target)
    (target / "model.safetensors").chmod(0o600)
    return target


@pytest.fixture(scope="session")
def import_folder() -> Path:
    from tests.stage import STATE

    return STATE / "import"


class Driver:
    """Plays the worker, and the part of the watcher that wakes it when a container ends."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.seen: list[str] = []

    def until_ended(self, job: Any, until: Any = lambda job: False) -> Any:
        """Carry the job on until it has ended, or `until` says stop."""
        from workers import controllers

        deadline = time.monotonic() + LIMIT_S
        while reload(job).state in ("queued", "running") and not until(job):
            assert time.monotonic() < deadline, f"{job.state} at {job.container_name}"
            controllers.work("jobs.reconcile", job.pk)
            reload(job)
            if job.container_name not in self.seen and job.container_id:
                self.seen.append(job.container_name)
            if job.state == "running" and job.container_id and not until(job):
                self.wait(job)
        return job

    def wait(self, job: Any) -> None:
        with contextlib.closing(self.engine.client()) as client, contextlib.suppress(docker.errors.NotFound):
            client.timeout = LIMIT_S
            client.wait(job.container_id, timeout=LIMIT_S)

    def names(self) -> list[str]:
        with contextlib.closing(self.engine.client()) as client:
            return [item["Names"][0] for item in client.containers(all=True, filters={"label": "modelyard.kind=job"})]


@pytest.fixture
def driver(quantisers: Any) -> Driver:
    return Driver(quantisers)


@pytest.fixture
def source(machine: Any, published: Path, ada: Any, team: Any, driver: Driver) -> Any:
    """SmolLM2's safetensors as an artifact, imported through the catalogue."""
    job = import_as_told(ada, team, machine, published)
    driver.until_ended(job)
    assert job.state == "succeeded", job.reason
    return job.artifact


@pytest.fixture
def gguf_source(machine: Any, import_folder: Path, ada: Any, team: Any, driver: Driver) -> Any:
    """SmolLM2 in Q4_1 as one file: what is made of it again takes seconds."""
    from webapp.jobs import fetching

    file = llamacpp.model_file(cache_dir())
    if not (import_folder / file.name).exists():
        shutil.copy(file, import_folder)
    job = fetching.import_file(ada, team, machine, str(import_folder / file.name))
    driver.until_ended(job)
    assert job.state == "succeeded", job.reason
    return job.artifact


@pytest.fixture
def plant(machine: Any, quantisers: Any) -> Iterator[Stack]:
    """The real processes at work. Modules that use it let messages through; those that import their source by a driver
    do so before. No container is left behind."""
    stack = Stack()
    try:
        stack.start()
        wait_until_up(stack)
        yield stack
    finally:
        stack.stop()
        # pytest shows it when the test failed.
        print(stack.last_words())
        with contextlib.closing(quantisers.client()) as client:
            for container in client.containers(all=True):
                client.remove_container(container["Id"], force=True)
