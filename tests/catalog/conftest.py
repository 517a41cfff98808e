"""A small hub that the catalogue knows."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.hub import Hub as SmallHub
from tests.parts.hub import running_hub


@pytest.fixture
def small_hub() -> Iterator[SmallHub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def hub(small_hub: SmallHub, db: None) -> Any:
    """The small hub as an installation admin has added it."""
    from webapp.catalog.models import Hub

    Hub.objects.all().delete()
    return Hub.objects.create(name="Small", endpoint=small_hub.url, allows_private=True)
