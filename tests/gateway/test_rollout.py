"""One replica takes another's place while people are using it."""

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.gateway.fake_engine import FakeEngine, checksum
from tests.gateway.stack import Stack, eventually

TOKENS = 12


class Traffic:
    """Twenty requests a second, every other one a stream, until told to stop. Failures are kept in words."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failures: list[str] = []
        self.served_by: dict[int, str] = {}

    def __enter__(self) -> "Traffic":
        self._ticker = threading.Thread(target=self._tick)
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in [self._ticker, *self._threads]:
            thread.join()

    def _tick(self) -> None:
        while not self._stopping.wait(0.05):
            thread = threading.Thread(target=self._one, args=(self.begun,))
            self._threads.append(thread)
            thread.start()

    @property
    def begun(self) -> int:
        """How many requests there have been so far, which is the next one's number."""
        return len(self._threads)

    def _one(self, number: int) -> None:
        stream = number % 2 == 0
        try:
            answer = self._stack.chat("smol", stream=stream, fake={"tokens": TOKENS, "delay": 0.05 if stream else 0})
            is_whole = checksum(TOKENS).encode() in answer.body and answer.events()[-1] == "[DONE]" if stream else True
            if answer.status != 200 or not is_whole:
                self.failures.append(f"{answer.status} {answer.body[-300:]!r}")
            self.served_by[number] = (answer.headers["x-modelyard-served-by"] or "").rpartition("/")[2]
        except Exception as error:
            self.failures.append(repr(error))


def rollout(stack: Stack, *replicas: dict[str, Any]) -> None:
    stack.publish(deployments=[stack.deployment(7, "smol", replicas=list(replicas))])


def at(engine: FakeEngine, number: int, state: str = "ready") -> dict[str, Any]:
    return {"id": number, "url": engine.url, "state": state}


def replace(stack: Stack, traffic: Traffic, old: FakeEngine, number: int) -> tuple[FakeEngine, range]:
    """Drain the old one beside a new one, wait for its streams, take it away. Returns the new one, and the numbers of
    requests that began when the gateway knew about it."""
    eventually(lambda: old.running > 2)
    new = FakeEngine().start()
    stack.engines.append(new)
    rollout(stack, at(old, number - 1, "draining"), at(new, number))
    first = traffic.begun
    eventually(lambda: len(new.asked) >= 7)
    eventually(lambda: old.running == 0)
    # The youngest may have been begun before and be on its way still.
    eventually(lambda: traffic.served_by.keys() >= set(range(first)))
    rollout(stack, at(new, number))
    old.stop()
    return new, range(first, traffic.begun)


def test_no_request_fails_while_replicas_are_replaced_one_after_the_other(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    old = stack.engine
    rollout(stack, at(old, 11))
    with Traffic(stack) as traffic:
        known: dict[str, range] = {}
        for number in (12, 13, 14):
            old, known[str(number)] = replace(stack, traffic, old, number)
    assert traffic.failures == []
    assert set(traffic.served_by.values()) == {"11", *known}
    for new, began in known.items():
        assert len(began) > 5 and {traffic.served_by[number] for number in began} == {new}
    assert all(engine.cancelled == 0 for engine in stack.engines)


def test_a_replica_that_vanished_before_the_gateway_heard_of_its_successor_costs_no_request(
    make_stack: Callable[..., Stack],
) -> None:
    """The engine is gone, the news is not here yet: it is asked for before anybody is refused."""
    stack = make_stack(MODELYARD_POLL_S="5").start()
    assert stack.chat().status == 200
    time.sleep(0.15)  # longer than the pause between two questions to web
    stack.engines[0].stop()
    stack.web.publish(deployments=[stack.deployment(7, "smol", replicas=[stack.replica(90, 1)])])
    answer = stack.chat(stream=True)
    assert (answer.status, answer.headers["x-modelyard-served-by"]) == (200, "smol/90")
    assert stack.engines[1].last()["stream_options"] == {"include_usage": True}
    assert stack.engines[1].asked[-1].body.count(b"stream_options") == 1
