"""kill -9 at random moments of a quantising job: every job ends, and nothing half done is left or shown."""

import os
import random
import time
from typing import Any

import pytest

from tests.quantisation.killing import Scene
from tests.workers.acting import reload

pytestmark = [pytest.mark.docker, pytest.mark.quant]
PARTS = ("worker", "watcher", "container", "daemon")


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


@pytest.fixture
def scene(gguf_source: Any, plant: Any, quantisers: Any, machine: Any) -> Scene:
    return Scene(plant, quantisers, machine)


@pytest.fixture
def ask(gguf_source: Any, machine: Any, ada: Any, team: Any) -> Any:
    """Ask for Q8_0: prepare, quantise, verify, publish."""
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Recipe

    recipe = Recipe(options={"type": "Q8_0", "requantise": True, "imatrix": False})
    return lambda: services.queue(ada, team, gguf_source, recipe, machine)


def go_through(scene: Scene, ask: Any, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job undisturbed, then one for every kill: each as good as the first, or failed with words."""
    seed = int(os.environ.get("MODELYARD_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"MODELYARD_TEST_SEED={seed}")
    dice = random.Random(seed)
    job = ask()
    whole_s = scene.until_ended(job)
    assert job.state == "succeeded", (job.reason, job.advice)
    digest = scene.take_away(job)
    print(f"undisturbed {whole_s:.1f} s: {[(name, said['seconds']) for name, said in job.result.items()]}", flush=True)
    victims = [PARTS[number % len(PARTS)] for number in range(rounds)]
    dice.shuffle(victims)
    ends = []
    for victim in victims:
        job, moment_s = at_work(scene, ask, dice, whole_s)
        at = f"{victim} at {moment_s:.1f} s in {job.params['steps'][job.phase]} ({job.state})"
        scene.kill(victim, job)
        assert scene.half_published() == [], at
        took_s = scene.until_ended(job)
        print(f"{at}: {job.state} {took_s:.1f} s later, attempt {job.attempt}; {scene.containers()}", flush=True)
        assert scene.half_published() == [] and scene.left_behind() == [], at
        if job.state == "succeeded":
            assert scene.take_away(job) == digest, at
        else:
            assert (job.state, bool(job.reason), bool(job.advice)) == ("failed", True, True), at
        ends.append(job.state)
    print(f"{ends.count('succeeded')} finished, {ends.count('failed')} clearly failed")
    nothing_stays(scene, monkeypatch)


def at_work(scene: Scene, ask: Any, dice: random.Random, whole_s: float) -> tuple[Any, float]:
    """A job at a random moment of its life, and the seconds since it was asked for."""
    while True:
        job, moment_s = ask(), dice.uniform(0, whole_s)
        time.sleep(moment_s)
        if reload(job).state in ("queued", "running"):
            return job, moment_s
        # It was quicker than the one before: the machine has less to do now.
        whole_s = (job.ended_at - job.created_at).total_seconds()
        scene.take_away(job)


def nothing_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers of ended jobs, whose worker died before it could remove them, go with the sweep of orphans."""
    from workers.controllers.host import orphans

    scene.stack.kill("beat")
    monkeypatch.setattr(orphans, "ORPHAN_AFTER_S", 0)
    print(f"{orphans.clean_up(scene.host.pk)} orphans removed")
    assert scene.containers() == []


def test_a_kill_of_each_part_leaves_a_finished_job(scene: Scene, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go_through(scene, ask, len(PARTS), monkeypatch)


@pytest.mark.slow
def test_twenty_kills_leave_twenty_ended_jobs_and_nothing_half_done(
    scene: Scene, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_through(scene, ask, 20, monkeypatch)
