"""One installation for all journeys: starting it from nothing is itself the first journey."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.yard import Yard, open_yard, printed


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Modelyard running in a checkout of its own, with the starter model answering."""
    # A short path: unix sockets inside it may have 107 bytes.
    for yard in open_yard(Path(tmp_path_factory.mktemp("yard"))):
        yard.start()
        yield yard


@pytest.fixture(scope="session")
def key(yard: Yard) -> str:
    """The API key that the first run printed."""
    return printed(yard.runs[0][0], "API key")


@pytest.fixture(scope="session")
def password(yard: Yard) -> str:
    return printed(yard.runs[0][0], "Password")
