"""Promises in their full size, each a row of `make soak`; their short forms stand beside what they are about."""

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.parts import figures, invariants
from tests.parts.dockerd import FAKE_ENGINE
from tests.parts.dying import Killed
from tests.parts.images import allow
from tests.parts.stack import Stack
from tests.workers import acting
from tests.workers.test_stack import wait_for_state, wait_until_up

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Serve = Callable[..., Any]


@pytest.fixture
def stack(machine: Any) -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.start()
        wait_until_up(stack)
        yield stack
    finally:
        stack.stop()
        # pytest shows it when the test failed.
        print(stack.last_words())


@pytest.fixture
def live(stack: Stack, monkeypatch: pytest.MonkeyPatch, weights: Any, ada: Any, team: Any) -> Serve:
    """Ask for a deployment; the message goes to the real broker."""
    from webapp.deployments import services
    from webapp.foundation import work_queue

    monkeypatch.undo()
    assert work_queue.send.__module__ == "webapp.foundation.work_queue"

    def ask(name: str, **spec: Any) -> Any:
        allow(FAKE_ENGINE)
        spec = services.DeploymentSpec(name=name, artifact=weights, image=FAKE_ENGINE, **spec)
        return services.create(ada, team, spec).replicas.get(number=1)

    return ask


def test_a_worker_that_dies_fifty_times_is_followed_by_one_that_finishes(
    stack: Stack, live: Serve, engine: Any, ada: Any
) -> None:
    from webapp.deployments import services

    chance, slowest_s = random.Random(9), 0.0
    for number in range(50):
        replica = live(f"tiny{number}")
        time.sleep(chance.uniform(0, 0.6))
        stack.kill("worker")
        stack.start("worker")
        slowest_s = max(slowest_s, wait_for_state(replica, "ready"))
        services.delete(ada, replica.deployment)
    acting.wait_for(lambda: not type(replica).objects.exists())
    figures.tell("worker killed in the middle of a launch: taken over (slowest of 50)", slowest_s, 45, "s")
    with contextlib.closing(engine.client()) as client:
        assert invariants.breaks([client]) == []
        assert client.containers(filters={"label": "modelyard.kind=replica"}) == []


def test_workers_find_a_broker_that_was_away_twenty_times(stack: Stack, live: Serve) -> None:
    chance, slowest_s = random.Random(11), 0.0
    for number in range(20):
        stack.kill("broker")
        time.sleep(chance.choice((0.2, 1, 3, 10, 30)))
        stack.start("broker")
        began = time.monotonic()
        replica = live(f"tiny{number}")
        acting.wait_for(lambda replica=replica: acting.reload(replica).state != "pending")
        slowest_s = max(slowest_s, time.monotonic() - began)
        wait_for_state(replica, "ready")
    figures.tell("a task asked for when the broker is back (slowest of 20)", slowest_s, 10, "s")


def test_two_clocks_or_none_change_nothing_twice(stack: Stack, live: Serve, engine: Any) -> None:
    second = Stack("second")
    try:
        second.start("beat")
        replicas = [live(f"tiny{number}") for number in range(5)]
        for replica in replicas:
            wait_for_state(replica, "ready")
        stack.kill("beat")  # whichever had been leading, one is left
        killed = time.monotonic()
        # Nobody is told of this request: the next sweep finds it.
        first = replicas[0]
        type(first.deployment).objects.filter(pk=first.deployment_id).update(desired_state="stopped")
        type(first).objects.filter(pk=first.pk).update(next_due_at=first.created_at)
        wait_for_state(replicas[0], "stopped")
        figures.tell("one of two clocks killed: the longest time without a sweep", time.monotonic() - killed, 30, "s")
        with contextlib.closing(engine.client()) as client:
            assert invariants.breaks([client]) == []
        assert {acting.reload(replica).attempt for replica in replicas} == {1}
    finally:
        second.stop()


def test_a_watcher_that_was_cut_off_reads_what_happened_meanwhile(stack: Stack, live: Serve, engine: Any) -> None:
    """Docker replays 256 events; twice as many are missed."""
    replica = live("tiny")
    wait_for_state(replica, "ready")
    stack.kill("watcher")
    with contextlib.closing(engine.client()) as client:
        for _ in range(200):
            box = client.create_container(FAKE_ENGINE)
            client.remove_container(box["Id"])
        client.kill(replica.container_name)
        stack.start("watcher")
        began = time.monotonic()
        acting.wait_for(lambda: acting.reload(replica).state != "ready")
        figures.tell("400 changes while the watcher was away: the database is right", time.monotonic() - began, 5, "s")
        wait_for_state(replica, "ready")
        assert invariants.breaks([client]) == []


def test_a_watcher_that_stands_still_slows_no_docker_engine(stack: Stack, live: Serve, engine: Any) -> None:
    import os
    import signal

    wait_for_state(live("tiny"), "ready")
    with contextlib.closing(engine.client()) as client:

        def p95_ms() -> float:
            def ms() -> float:
                began = time.monotonic()
                client.containers()
                return (time.monotonic() - began) * 1000

            return statistics.quantiles([ms() for _ in range(200)], n=20)[-1]

        idle_ms = p95_ms()
        os.kill(stack.pid("watcher"), signal.SIGSTOP)
        try:
            for _ in range(500):  # each makes three events or more
                box = client.create_container(FAKE_ENGINE)
                client.start(box["Id"])
                client.remove_container(box["Id"], force=True)
            frozen_ms = p95_ms()
        finally:
            os.kill(stack.pid("watcher"), signal.SIGCONT)
    ratio = frozen_ms / idle_ms
    figures.tell("Docker's p95 beside a watcher that stands still, against idle", ratio, 2, "times")


def die_after_create(patch: pytest.MonkeyPatch) -> None:
    """A dead worker writes nothing down and gives no lease back."""
    from webapp.control import lease
    from workers.runtime.docker import DockerRuntime

    create = DockerRuntime.create

    def last(self: Any, spec: Any) -> str:
        create(self, spec)
        raise Killed

    patch.setattr(DockerRuntime, "create", last)
    patch.setattr(lease, "release", lambda *arguments: False)


def test_fifty_deaths_between_create_and_commit_leave_nothing_and_touch_nothing_foreign(
    serve: Serve, work: Any, engine: Any, machine: Any, ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.deployments import services

    with contextlib.closing(engine.client()) as client:
        foreign = {client.create_container(FAKE_ENGINE, name=f"foreign{n}")["Id"] for n in range(20)}
    for number in range(50):
        replica = serve(name=f"tiny{number}")
        with monkeypatch.context() as patch:
            die_after_create(patch)
            with pytest.raises(Killed):
                work()
        monkeypatch.setattr("webapp.foundation.work_queue.send", work.send)
        if number % 2:
            services.delete(ada, replica.deployment)
        work.pass_time(replica, 41)
        if number % 2:
            for _ in range(4):
                if not type(replica).objects.filter(pk=replica.pk).exists():
                    break
                work.pass_time(replica, 41)
        else:
            assert acting.reload(replica).state == "loading"
            services.delete(ada, replica.deployment)
            for _ in range(6):
                if not type(replica).objects.filter(pk=replica.pk).exists():
                    break
                work.pass_time(replica, 41)
        assert not type(replica).objects.filter(pk=replica.pk).exists()
    with contextlib.closing(engine.client()) as client:
        assert {item["Id"] for item in client.containers(all=True)} == foreign
        assert invariants.breaks([client]) == []
