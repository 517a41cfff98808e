"""A fetch from the request to the end: with the fetch program played by the tiny engine."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.acting import containers, has_ended, inspect, reload, wait_for

pytestmark = pytest.mark.docker

Fetch = Callable[..., Any]


@pytest.fixture
def fetch(machine: Any, engine: Any, ada: Any, team: Any, work: Any) -> Fetch:
    """Ask for a fetch of a file of that name; how it goes is in the name."""
    from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
    from webapp.jobs import services as jobs

    engine.import_fake_tools()

    def ask(name: str) -> Any:
        model, _new = CatalogModel.objects.get_or_create(name="Tiny", slug="tiny")
        artifact = Artifact.objects.create(catalog_model=model, format="gguf", main_file=name)
        ArtifactCopy.objects.create(artifact=artifact, host=machine, state=CopyState.FETCHING)
        params = {
            "source_path": f"/tmp/{name}",
            "member": None,
            "files": [{"name": name, "sha256": None, "size": 1024}],
        }
        return jobs.queue_fetch(ada, team, artifact, machine, params)

    return ask


def copy_of(job: Any) -> Any:
    return job.artifact.copies.get()


def look_at(job: Any, work: Any) -> Any:
    work.send("jobs.reconcile", job.pk)
    work()
    return reload(job)


def test_a_fetch_brings_the_files_and_leaves_no_container(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("good.gguf")
    work()
    wait_for(lambda: has_ended(engine, job.container_name))
    assert look_at(job, work).state == "succeeded", job.reason
    assert job.result["files"][0]["name"] == "tiny.gguf"
    assert copy_of(job).state == "present"
    assert containers(engine, "job") == [] and containers(engine, "probe") == []
    assert [event.new_state for event in job.events.all()] == ["running", "succeeded"]


def test_a_fetchs_container_has_no_network_and_one_writable_place(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("slow.gguf")
    work()
    assert reload(job).state == "running"
    container = inspect(engine, job.container_name)
    assert container["HostConfig"]["NetworkMode"] == "none"
    assert container["HostConfig"]["CapDrop"] == ["ALL"] and container["HostConfig"]["ReadonlyRootfs"]
    assert container["Config"]["User"] == "65534:65534"
    mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in container["Mounts"]}
    assert mounts == {"/models": ("volume", True), "/import": ("bind", False)}


def test_a_refused_file_is_told_with_advice(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("broken.gguf")
    work()
    wait_for(lambda: has_ended(engine, job.container_name))
    look_at(job, work)
    assert (job.state, job.reason, job.advice) == ("failed", "It is another file.", "Get it again.")
    assert copy_of(job).state == "failed"
    assert containers(engine, "job") == []


def test_an_end_without_a_word_is_told_by_its_code(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("mute.gguf")
    work()
    wait_for(lambda: has_ended(engine, job.container_name))
    assert look_at(job, work).reason == "The container exited with code 3."


def test_a_cancelled_fetch_ends_at_once(fetch: Fetch, work: Any, engine: Any, ada: Any) -> None:
    from webapp.jobs import services as jobs

    job = fetch("slow.gguf")
    work()
    jobs.cancel(ada, reload(job))
    work()
    assert reload(job).state == "cancelled" and copy_of(job).state == "failed"
    assert containers(engine, "job") == [] and containers(engine, "probe") == []


def test_a_killed_fetch_goes_on_as_its_next_attempt_and_not_for_ever(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("slow.gguf")
    work()
    for attempt in (1, 2, 3):
        assert reload(job).state == "running" and job.attempt == attempt
        with contextlib.closing(engine.client()) as client:
            client.kill(job.container_name)
        look_at(job, work)
    assert job.state == "failed" and "3 times" in job.reason
    assert containers(engine, "job") == []


def test_ten_copies_of_a_message_make_one_container(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("slow.gguf")
    for _copy in range(10):
        work.send("jobs.reconcile", job.pk)
    work()
    assert len(containers(engine, "job")) == 1 and reload(job).attempt == 1


def test_a_worker_that_dies_after_the_end_was_seen_succeeds_once(
    fetch: Fetch, work: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.control import lease
    from webapp.jobs import fetching

    class Killed(BaseException):
        pass

    died: list[bool] = []
    release = lease.release

    def die(*arguments: Any) -> None:
        died.append(True)
        raise Killed

    job = fetch("good.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "finish", die)
        # A dead worker gives no lease back.
        patch.setattr(lease, "release", lambda *arguments: False if died else release(*arguments))
        with contextlib.suppress(Killed):
            work()
            wait_for(lambda: has_ended(engine, job.container_name))
            look_at(job, work)
    assert died and reload(job).state == "running" and copy_of(job).state == "fetching", "all of it or nothing"
    work.pass_time(job, 41)
    assert look_at(job, work).state == "succeeded" and copy_of(job).state == "present"


def test_without_the_tools_image_it_says_what_to_do(fetch: Fetch, work: Any, engine: Any) -> None:
    job = fetch("good.gguf")
    with contextlib.closing(engine.client()) as client:
        client.remove_image("modelyard/tools:1", force=True)
    work()
    assert reload(job).state == "failed" and "modelyard/tools:1" in job.reason and job.advice


def test_a_job_of_several_steps_repeats_none_that_is_done(
    fetch: Fetch, work: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.controllers.job import kinds as job_kinds

    class TwoSteps(job_kinds.Fetch):
        begun: list[str] = []

        def steps(self, job: Any) -> tuple[str, ...]:
            return ("first", "second")

        def container(self, runtime: Any, job: Any, step: str, who: Any) -> Any:
            self.begun.append(step)
            return super().container(runtime, job, step, who)

        def result(self, job: Any, said: Any) -> Any:
            return {**(super().result(job, said) or {}), f"step {len(self.begun)}": "done"}

    monkeypatch.setitem(job_kinds.KINDS, "fetch", TwoSteps())
    job = fetch("good.gguf")
    first = job.container_name
    work()
    wait_for(lambda: has_ended(engine, first))
    assert look_at(job, work).phase == 1 and job.container_name == f"{first}-s1"
    wait_for(lambda: has_ended(engine, job.container_name))
    assert look_at(job, work).state == "succeeded", job.reason
    assert TwoSteps.begun == ["first", "second"]
    assert {"step 1", "step 2", "files"} <= set(job.result)
    assert containers(engine, "job") == []
