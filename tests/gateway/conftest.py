"""One gateway for the tests that only ask, and a fresh one for those that change it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.stack import Stack


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), MODELYARD_MAX_BODY_BYTES=str(1024 * 1024))
    try:
        yield stack.start()
    finally:
        stack.stop()


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """The shared gateway, with what earlier tests left behind forgotten."""
    shared_stack.web.records.clear()
    shared_stack.web.refused.clear()
    shared_stack.web.pages.clear()
    for engine in shared_stack.engines:
        engine.asked.clear()
        engine.finished = engine.cancelled = 0
        engine.turns = threading.Semaphore(0)
    return shared_stack


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """A stack of one's own, not started yet; keyword arguments become its environment."""
    made: list[Stack] = []

    def make(**environment: str) -> Stack:
        folder = tmp_path / f"stack{len(made)}"
        folder.mkdir()
        made.append(Stack(folder, **environment))
        return made[-1]

    yield make
    for stack in made:
        stack.stop()
