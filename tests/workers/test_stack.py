"""The real processes together: broker, worker, clock and watcher around a real Docker engine."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.parts import figures
from tests.parts.stack import Stack

pytestmark = pytest.mark.docker


@pytest.fixture
def stack(machine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.start()
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


def wait_for_state(replica: Any, state: str, limit_s: float = 300) -> float:
    """Seconds until it was seen in that state."""
    began = time.monotonic()
    while True:
        replica.refresh_from_db()
        waited_s = time.monotonic() - began
        if replica.state == state:
            return waited_s
        assert waited_s < limit_s, f"still {replica.state}: {replica.reason}"
        time.sleep(0.02)


def test_a_wish_becomes_ready_and_a_killed_engine_is_noticed_without_a_sweep(
    stack: Stack, serve: Callable[..., Any], engine: Any, ada: Any
) -> None:
    wait_until_up(stack)
    # Messages and events alone: the clock, whose sweep finds everything, too, is not there.
    stack.kill("beat")
    replica = serve()
    ready_s = wait_for_state(replica, "ready")
    client = engine.client()
    began = time.monotonic()
    client.kill(replica.container_name)
    client.close()
    wait_for_state(replica, "failed")
    noticed_s = time.monotonic() - began
    print(f"ready after {ready_s:.2f} s, death noticed after {noticed_s:.2f} s, {replica.reason}")
    assert replica.reason_code == "killed"
    wait_for_state(replica, "ready")
    states = {event.new_state: event.at for event in replica.deployment.diary.order_by("id")}
    # Both as the diary has them, whenever somebody looked.
    assert (states["starting"] - states["failed"]).total_seconds() > 9.5, "it is left alone for a while"


@pytest.mark.slow
def test_without_the_watcher_the_sweep_finds_the_state(stack: Stack, serve: Callable[..., Any], engine: Any) -> None:
    wait_until_up(stack)
    replica = serve()
    wait_for_state(replica, "ready")
    stack.kill("watcher")
    client = engine.client()
    client.kill(replica.container_name)
    client.close()
    failed_s = wait_for_state(replica, "failed")
    wait_for_state(replica, "loading")
    stack.start("watcher")
    wait_for_state(replica, "ready")
    stack.kill("watcher")
    engine.remove_containers()
    lost_s = wait_for_state(replica, "lost")
    figures.tell("without the watcher: the state is right again", max(failed_s, lost_s), 20, "s")


@pytest.mark.slow
def test_a_broker_that_forgets_everything_loses_no_wish(stack: Stack, serve: Callable[..., Any], ada: Any) -> None:
    wait_until_up(stack)
    stack.kill("worker")
    replicas = [serve(name=f"tiny{number}") for number in range(5)]
    stack.kill("broker")
    stack.start("broker", "worker")
    for replica in replicas:
        wait_for_state(replica, "ready")


def wait_until_up(stack: Stack) -> None:
    deadline = time.monotonic() + 300
    while "ready." not in stack.log("worker") or "watching" not in stack.log("watcher"):
        assert time.monotonic() < deadline, stack.log("worker") + stack.log("watcher")
        time.sleep(0.1)
