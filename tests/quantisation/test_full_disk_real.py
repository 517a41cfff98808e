"""The disk becomes full before or during a step of a quantising job: it fails with those words, gives the space back
and leaves its source alone. Steps that write nothing end as ever."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.quantisation.small_disk import SmallDisk, small_disk
from tests.workers.acting import reload, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.quant]
MIB = 1024**2
# Until the converter writes it has read the model: seconds, more where others work too.
CONVERTS_S = 600


@pytest.fixture
def disk(quantisers: Any, machine: Any) -> Iterator[SmallDisk]:
    with small_disk(quantisers) as disk:
        yield disk


@pytest.fixture
def quantise(disk: SmallDisk, gguf_source: Any, machine: Any, ada: Any, team: Any) -> Any:
    """Ask for Q8_0 of what lies on the small disk."""
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Measure, Recipe

    def ask(measure: Any = None, **options: Any) -> Any:
        recipe = Recipe(options={"type": "Q8_0", "requantise": True, "imatrix": False, **options})
        return services.queue(ada, team, gguf_source, recipe, machine, None, Measure(**measure) if measure else None)

    return ask


@pytest.fixture
def convert(disk: SmallDisk, source: Any, machine: Any, ada: Any, team: Any) -> Any:
    """Ask for a conversion of the published files, which lie on the small disk."""
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Recipe

    return lambda: services.queue(ada, team, source, Recipe(options={"type": "F16"}), machine)


def contents(disk: SmallDisk) -> dict[str, str]:
    """Every file in the models volume with its checksum."""
    found = {}
    for path in sorted(disk.models.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(disk.models))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def begun(job: Any, step: str) -> bool:
    return bool(job.state == "running" and job.params["steps"][job.phase] == step and job.container_id)


def has_failed_for_the_disk(job: Any) -> None:
    print(job.params["steps"][job.phase], job.reason, "|", job.advice)
    assert job.state == "failed", (job.state, job.reason)
    assert "disk" in job.reason.lower() or "bytes are free" in job.reason, job.reason
    assert "Remove models" in job.advice, job.advice


# What makes a job have the step.
ASKED: dict[str, dict[str, Any]] = {
    "calibrate": {"imatrix": True, "calibration_chunks": 1},
    "quantise": {},
    "logits": {"measure": {"chunks": 2, "context": 128, "speed": False}},
}


@pytest.mark.parametrize("step", ASKED)
def test_a_disk_that_is_full_before_a_step_and_one_that_becomes_full(
    quantise: Any, driver: Any, disk: SmallDisk, step: str
) -> None:
    before, used = contents(disk), disk.used_bytes()
    job = quantise(**ASKED[step])
    until_done_before(driver, job, step)
    fails_and_gives_the_space_back(driver, disk, job, before, used)
    job = quantise(**ASKED[step])
    driver.until_ended(job, lambda job: begun(job, step))
    fails_and_gives_the_space_back(driver, disk, job, before, used)


def test_a_disk_that_is_full_before_the_conversion_and_one_that_becomes_full(
    convert: Any, driver: Any, disk: SmallDisk
) -> None:
    """It writes the largest file of all: some of it is there already."""
    before, used = contents(disk), disk.used_bytes()
    job = convert()
    until_done_before(driver, job, "convert")
    fails_and_gives_the_space_back(driver, disk, job, before, used)
    job = convert()
    driver.until_ended(job, lambda job: begun(job, "convert"))
    wait_for(lambda: disk.used_bytes() - used > 20 * MIB, CONVERTS_S)
    fails_and_gives_the_space_back(driver, disk, job, before, used)


def until_done_before(driver: Any, job: Any, step: str) -> None:
    """The step in front of it has ended, and nobody has looked yet."""
    steps = job.params["steps"]
    driver.until_ended(job, lambda job: begun(job, steps[steps.index(step) - 1]))
    driver.wait(job)


def fails_and_gives_the_space_back(driver: Any, disk: SmallDisk, job: Any, before: dict[str, str], used: int) -> None:
    """With a disk that is full now; when there is room again, all is as it was: the source unchanged, nothing made,
    nothing reserved."""
    from webapp.catalog.models import Artifact

    disk.fill()
    driver.until_ended(job)
    has_failed_for_the_disk(job)
    disk.give_room()
    pass_time(driver, job)
    assert contents(disk) == before
    assert disk.used_bytes() - used < MIB
    assert not Artifact.objects.exclude(parent=None).exists() and reload(job.host).reserved_bytes == 0


def test_too_little_room_is_told_before_the_work(quantise: Any, driver: Any, disk: SmallDisk) -> None:
    before = contents(disk)
    disk.fill(50 * MIB)
    job = driver.until_ended(quantise())
    has_failed_for_the_disk(job)
    assert job.phase == 0 and "bytes are free; this needs" in job.reason
    disk.give_room()
    assert contents(disk) == before


def test_publishing_needs_no_room(quantise: Any, driver: Any, disk: SmallDisk) -> None:
    from webapp.catalog.models import Artifact

    job = quantise()
    driver.until_ended(job, lambda job: begun(job, "publish"))
    disk.fill()
    driver.until_ended(job)
    assert job.state == "succeeded", job.reason
    made = Artifact.objects.exclude(parent=None).get()
    assert contents(disk)[f"{made.pk}/{made.main_file}"] == made.files[0]["sha256"]


def pass_time(driver: Any, job: Any) -> None:
    """Let the sweep look at an ended job that still has something to take away."""
    from django.utils import timezone

    from workers import controllers

    if reload(job).next_due_at is not None:
        type(job).objects.filter(pk=job.pk).update(next_due_at=timezone.now())
        controllers.work("jobs.reconcile", job.pk)
