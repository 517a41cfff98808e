"""The real processes together: broker, worker, clock and watcher around a real Docker engine."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.parts import figures
from tests.parts.stack import Stack
from tests.workers import acting

pytestmark = pytest.mark.docker

# Messages that a worker may have taken before it stood still.
IN_HAND = 4


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


def test_a_request_becomes_ready_and_a_killed_engine_is_noticed_without_a_sweep(
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
    states = {event.new_state: event.at for event in replica.deployment.events.order_by("id")}
    # Both as the events have them, whenever somebody looked.
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


def kill_the_broker(stack: Stack) -> None:
    """It keeps nothing on disk."""
    stack.kill("broker")
    stack.start("broker")


def flush_the_broker(stack: Stack) -> None:
    """It lives, and knows neither messages nor queues any more."""
    with redis.Redis(unix_socket_path=str(stack.socket)) as broker:
        broker.flushall()


@pytest.mark.parametrize(
    ("forget", "serving", "resting"),
    [
        pytest.param(kill_the_broker, 5, 0, id="killed"),
        pytest.param(kill_the_broker, 20, 480, id="killed-500", marks=pytest.mark.slow),
        pytest.param(flush_the_broker, 20, 480, id="flushed-500", marks=pytest.mark.slow),
    ],
)
def test_a_broker_that_forgets_everything_loses_no_request(
    forget: Callable[[Stack], None], serving: int, resting: int, stack: Stack, serve: Callable[..., Any], weights: Any,
    ada: Any, team: Any,
) -> None:  # fmt: skip
    """The requests wait in the broker while the workers stand still, and are lost. A small machine cannot run five
    hundred engines: most of the requests are that a stopped deployment be deleted."""
    from webapp.deployments import services
    from webapp.deployments.models import Deployment, Replica

    wait_until_up(stack)
    stopped = [
        Deployment.objects.create(
            team=team, name=f"old{number}", artifact=weights, engine="llamacpp", desired_state="stopped"
        )
        for number in range(resting)
    ]
    Replica.objects.bulk_create(Replica(deployment=each, number=1, state="stopped") for each in stopped)
    stack.freeze("worker")
    replicas = [serve(name=f"tiny{number}") for number in range(serving)]
    for deployment in stopped:
        services.delete(ada, deployment)
    with redis.Redis(unix_socket_path=str(stack.socket)) as broker:
        assert broker.llen("modelyard:celery") >= serving + resting - IN_HAND, "they wait"
    forget(stack)
    stack.thaw("worker")
    began = time.monotonic()

    def lost() -> int:
        ready = Replica.objects.filter(pk__in=[replica.pk for replica in replicas], state="ready").count()
        return serving - ready + Deployment.objects.filter(desired_state="deleted").count()

    acting.wait_for(lambda: lost() == 0)
    done_s = time.monotonic() - began
    figures.tell(f"broker {forget.__name__.split('_')[0]}ed: all of {serving + resting} requests done", done_s, 60, "s")


def wait_until_up(stack: Stack) -> None:
    deadline = time.monotonic() + 300
    while "ready." not in stack.log("worker") or "watching" not in stack.log("watcher"):
        assert time.monotonic() < deadline, stack.log("worker") + stack.log("watcher")
        time.sleep(0.1)
