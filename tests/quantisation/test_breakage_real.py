"""What breaks under a quantising job, and what is left behind: containers, workers, sources, people who change their
mind."""

import contextlib
from typing import Any

import docker
import pytest

from tests.workers.acting import reload

pytestmark = [pytest.mark.docker, pytest.mark.quant]


@pytest.fixture
def ask(source: Any, machine: Any, ada: Any, team: Any) -> Any:
    """Ask for the plain conversion: prepare, convert, verify, publish."""
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Recipe

    return lambda: services.queue(ada, team, source, Recipe(options={"type": "F16"}), machine)


def volume(engine: Any) -> str:
    """What stands in the models volume, two levels deep."""
    program = "import pathlib; print(*sorted(str(p) for p in pathlib.Path('/models').glob('**/*') if len(p.parts) < 6))"
    with contextlib.closing(docker.DockerClient(engine.endpoint)) as client:
        volumes = {"modelyard-models": {"bind": "/models", "mode": "ro"}}
        return str(client.containers.run("modelyard/tools:1", ["python3", "-c", program], volumes=volumes, remove=True))


def at(step: str) -> Any:
    return lambda job: job.state == "running" and job.params["steps"][job.phase] == step and job.container_id


def test_killed_containers_and_a_dead_worker_do_not_keep_a_job_from_its_end(
    ask: Any, driver: Any, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.catalog.models import Artifact
    from webapp.quantisation import finishing

    class Killed(BaseException):
        pass

    job = ask()
    for step in ("convert", "verify"):
        driver.until_ended(job, at(step))
        before = job.attempt
        with contextlib.closing(driver.engine.client()) as client:
            client.kill(job.container_id)
        driver.until_ended(job, lambda job, before=before: job.attempt > before)
        assert job.attempt == before + 1, (job.state, job.reason)
    finish, died = finishing.finish, []

    def die_once(*arguments: Any) -> None:
        if not died:
            died.append(True)
            raise Killed
        finish(*arguments)

    monkeypatch.setattr(finishing, "finish", die_once)
    with contextlib.suppress(Killed):
        driver.until_ended(job)
    assert died and not Artifact.objects.filter(parent=source).exists()
    type(job).objects.filter(pk=job.pk).update(lease_until=None)
    driver.until_ended(job)
    assert job.state == "succeeded", (job.reason, job.result)
    made = Artifact.objects.get(parent=source)
    assert f"/models/{made.pk}/{made.main_file}" in volume(driver.engine) and "job-" not in volume(driver.engine)
    steps = [name.partition("-s")[2] for name in driver.seen]
    assert steps == sorted(steps), "a finished step was repeated"


def test_a_cancelled_job_leaves_nothing(ask: Any, driver: Any, source: Any, ada: Any, machine: Any) -> None:
    from webapp.catalog.models import Artifact
    from webapp.foundation.errors import Conflict
    from webapp.jobs import services as jobs

    job = ask()
    driver.until_ended(job, at("convert"))
    assert reload(machine).reserved_bytes == job.params["needs"]["memory_bytes"]
    jobs.cancel(ada, job)
    driver.until_ended(job)
    assert job.state == "cancelled" and "job-" not in volume(driver.engine)
    assert not Artifact.objects.filter(parent=source).exists() and reload(machine).reserved_bytes == 0
    with pytest.raises(Conflict):
        jobs.cancel(ada, reload(job))


def test_a_broken_source_is_told_before_any_tool_runs(ask: Any, driver: Any, source: Any) -> None:
    program = f"open('/models/{source.pk}/model.safetensors', 'r+b').truncate(100)"
    with contextlib.closing(docker.DockerClient(driver.engine.endpoint)) as client:
        volumes = {"modelyard-models": {"bind": "/models", "mode": "rw"}}
        client.containers.run("modelyard/tools:1", ["python3", "-c", program], volumes=volumes, remove=True)
    job = driver.until_ended(ask())
    assert (job.state, job.reason) == ("failed", "model.safetensors is not as it was fetched.")
    assert job.advice == "Fetch the model again." and "job-" not in volume(driver.engine)


def test_without_the_quantisers_image_it_says_what_to_do(
    ask: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.runtime import specs

    make = specs.quantiser_container
    monkeypatch.setattr(specs, "quantiser_container", lambda **words: make(**{**words, "image": "modelyard/none:1"}))
    job = driver.until_ended(ask())
    assert job.state == "failed" and "modelyard/none:1" in job.reason and "make quantizers" in job.advice


def test_too_little_memory_is_told_and_another_try_goes_on_behind_what_is_done(
    ask: Any, driver: Any, ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.jobs import services as jobs
    from workers.runtime import specs

    make = specs.quantiser_container

    def starve(**words: Any) -> Any:
        return make(**{**words, "memory_bytes": 16 * 1024**2})

    job = ask()
    with monkeypatch.context() as patch:
        patch.setattr(specs, "quantiser_container", starve)
        driver.until_ended(job)
    assert job.state == "failed" and "memory" in job.reason, (job.state, job.reason)
    assert job.result["work_kept"] and f"job-{job.pk}" in volume(driver.engine)
    jobs.retry(ada, job)
    assert reload(job).phase == 1, "prepare is not repeated"
    driver.until_ended(job)
    assert job.state == "succeeded", (job.reason, job.result)
