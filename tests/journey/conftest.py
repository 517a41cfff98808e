"""One installation for all journeys: starting it from nothing is itself the first journey."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.stack import Stack, open_stack, printed


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Modelyard running in a checkout of its own, with the starter model answering."""
    # A short path: unix sockets inside it may have 107 bytes.
    for stack in open_stack(Path(tmp_path_factory.mktemp("stack"))):
        stack.start()
        yield stack


@pytest.fixture(scope="session")
def key(stack: Stack) -> str:
    """The API key that the first run printed."""
    return printed(stack.runs[0][0], "API key")


@pytest.fixture(scope="session")
def password(stack: Stack) -> str:
    return printed(stack.runs[0][0], "Password")
