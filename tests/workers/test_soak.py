"""Faults one after the other under traffic, while people go on changing things: invariants hold all the time, and
everything becomes as it was asked for once the faults end.

The short form runs in the suite, the hour in `make soak`; both walk the same faults, in an order that a seed decides.
"""

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.parts import figures, invariants
from tests.parts.memory import pss_bytes
from tests.parts.stack import Stack
from tests.workers import acting
from tests.workers.test_stack import wait_until_up
from tests.workers.traffic import Traffic
from workers.runtime.base import LABEL_ID

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]
PROCESSES = ("broker", "worker", "beat", "watcher", "web", "gateway")


@pytest.fixture
def stack(machine: Any) -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.start(*PROCESSES)
        wait_until_up(stack)
        yield stack
    finally:
        stack.stop()
        # pytest shows it when the test failed.
        print(stack.last_words())


@pytest.fixture
def work() -> None:
    """Messages go to the real broker here."""


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


class Trouble:
    """Everything that goes wrong, and everything that people do meanwhile; each returns when it has been done."""

    def __init__(self, stack: Stack, engine: Any, serve: Serve, ada: Any, seed: int) -> None:
        self._stack, self._engine, self._serve, self._ada = stack, engine, serve, ada
        self._random = random.Random(seed)
        self._named = 0
        self.done: list[str] = []

    def next(self) -> None:
        """One fault, and one change that somebody makes."""
        for kind in (self._random.choice(self.FAULTS), self._random.choice(self.CHANGES)):
            self.done.append(kind.__name__)
            kind(self)

    # --- faults

    def kill_a_process(self) -> None:
        # The gateway is left alive: what it answers while others die is what the traffic asks.
        name = self._random.choice([name for name in PROCESSES if name != "gateway"])
        self.done[-1] += f" ({name})"
        self._stack.kill(name)
        time.sleep(self._random.uniform(0, 1))
        self._stack.start(name)

    def kill_an_engine(self) -> None:
        self._on_some_container(lambda client, one: client.kill(one))

    def remove_an_engine(self) -> None:
        self._on_some_container(lambda client, one: client.remove_container(one, force=True))

    def pause_an_engine(self) -> None:
        def pause(client: Any, one: str) -> None:
            client.pause(one)
            time.sleep(self._random.uniform(0, 3))
            client.unpause(one)

        self._on_some_container(pause)

    def freeze_docker(self) -> None:
        self._engine.freeze()
        try:
            time.sleep(self._random.uniform(0, 3))
        finally:
            self._engine.thaw()

    def _on_some_container(self, what: Callable[[Any, str], None]) -> None:
        import docker

        with contextlib.closing(self._engine.client()) as client, contextlib.suppress(docker.errors.APIError):
            running = client.containers(filters={"label": "modelyard.kind=replica"})
            # Those of the deployment under traffic come and go by people's request alone.
            others = [one["Id"] for one in running if int(one["Labels"][LABEL_ID]) not in self._spared()]
            if others:
                what(client, self._random.choice(sorted(others)))

    def _spared(self) -> set[int]:
        from webapp.deployments.models import Replica

        return set(Replica.objects.filter(deployment__name="asked").values_list("pk", flat=True))

    # --- what people do

    def scale(self) -> None:
        self._change(lambda services, one: services.scale(self._ada, one, self._random.randint(1, 3)))

    def stop(self) -> None:
        self._change(lambda services, one: services.stop(self._ada, one))

    def start(self) -> None:
        self._change(lambda services, one: services.start(self._ada, one))

    def restart(self) -> None:
        self._change(lambda services, one: services.restart(self._ada, one))

    def edit(self) -> None:
        length = 1024 * self._random.randint(1, 4)

        def change(services: Any, one: Any) -> None:
            services.edit(self._ada, one, services.DeploymentPatch({"options": {"context_length": length}}))

        self._change(change)

    def delete_and_make_another(self) -> None:
        self._change(lambda services, one: services.delete(self._ada, one))
        self.make()

    def make(self) -> None:
        self._named += 1
        self._serve(name=f"some{self._named}", image="modelyard-test/soak:1")

    def _change(self, what: Callable[[Any, Any], None]) -> None:
        from webapp.deployments import services
        from webapp.deployments.models import Deployment
        from webapp.foundation.errors import ServiceError

        there = list(Deployment.objects.exclude(name="asked").exclude(desired_state="deleted").order_by("pk"))
        with contextlib.suppress(ServiceError):  # what cannot be done now is refused in words, as people see it
            what(services, self._random.choice(there))

    FAULTS = (kill_a_process, kill_a_process, kill_an_engine, remove_an_engine, pause_an_engine, freeze_docker)
    CHANGES = (scale, stop, start, restart, edit, delete_and_make_another)


SHORT = {"faults": 4, "every_s": 4.0}
HOUR = {"faults": 360, "every_s": 10.0}


@pytest.mark.parametrize("size", [SHORT, pytest.param(HOUR, marks=pytest.mark.slow)], ids=["short", "an-hour"])
def test_whatever_breaks_the_invariants_hold_and_all_becomes_as_asked(
    size: Any, stack: Stack, serve: Serve, way: Any, engine: Any, ada: Any, team: Any
) -> None:
    from webapp.accounts import services as accounts

    key = accounts.create_key(ada, team, "traffic", ["inference"])[1]
    image = way("soak", token_ms=10, load_ms=200)
    serve(name="asked", image=image)
    trouble = Trouble(stack, engine, serve, ada, seed=20261130)
    trouble.make()
    trouble.make()
    acting.wait_for(lambda: not invariants.unsettled())
    with contextlib.closing(engine.client()) as client, Traffic(stack.port, key, "asked", per_s=5) as traffic:
        oldest_s, gateway_bytes = 0.0, list[int]()
        for number in range(size["faults"]):
            if number >= size["faults"] // 6:  # by then it has seen what there is to remember
                gateway_bytes.append(pss_bytes(stack.pid("gateway")))
            ends = time.monotonic() + size["every_s"]
            trouble.next()
            while time.monotonic() < ends:
                assert (found := invariants.breaks([client])) == [], (found, trouble.done[-4:])
                oldest_s = max(oldest_s, invariants.oldest_proof_s())
                time.sleep(max(0.0, min(2.0, ends - time.monotonic())))
        began = time.monotonic()
        acting.wait_for(lambda: not invariants.unsettled(), 600)
        settled_s = time.monotonic() - began
        assert invariants.breaks([client]) == []
    print(f"{len(trouble.done)} things: {trouble.done}; {traffic.asked} requests, {traffic.outcomes}")
    assert traffic.failures == []
    acting.wait_for(lambda: not invariants.outcomes(traffic.completed, traffic.broken_off))
    figures.tell("faults one after the other: as asked after the last one", settled_s, 60, "s")
    figures.tell("faults one after the other: the oldest proof of a ready replica", oldest_s, 45, "s")
    growth = statistics.mean(gateway_bytes[-10:]) / statistics.mean(gateway_bytes[:10]) * 100 - 100
    figures.tell("faults one after the other: growth of the gateway's memory", growth, 5, "%")
