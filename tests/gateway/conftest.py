"""One gateway for the tests that only ask, and a fresh one for those that change it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.yard import Yard


@pytest.fixture(scope="session")
def shared_yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    yard = Yard(tmp_path_factory.mktemp("yard"), MODELYARD_MAX_BODY_BYTES=str(1024 * 1024))
    try:
        yield yard.start()
    finally:
        yard.stop()


@pytest.fixture
def yard(shared_yard: Yard) -> Yard:
    """The shared gateway, with what earlier tests left behind forgotten."""
    shared_yard.web.records.clear()
    shared_yard.web.refused.clear()
    shared_yard.web.pages.clear()
    for engine in shared_yard.engines:
        engine.asked.clear()
        engine.finished = engine.cancelled = 0
        engine.turns = threading.Semaphore(0)
    return shared_yard


@pytest.fixture
def make_yard(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    """A yard of one's own, not started yet; keyword arguments become its environment."""
    made: list[Yard] = []

    def make(**environment: str) -> Yard:
        folder = tmp_path / f"yard{len(made)}"
        folder.mkdir()
        made.append(Yard(folder, **environment))
        return made[-1]

    yield make
    for yard in made:
        yard.stop()
