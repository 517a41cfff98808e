"""Callers of the REST API."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from webapp.accounts import services as accounts


@pytest.fixture
def as_caller(team: Any) -> Callable[..., Client]:
    """A client that sends a key of this person: as_caller(ada, scopes=["read"], header="X-API-Key")."""

    def make(user: Any, scopes: tuple[str, ...] = accounts.SCOPES, header: str = "Authorization") -> Client:
        own = user.teams.first()
        _key, text = accounts.create_key(user, own, "test", scopes)
        return Client(headers={header: f"Bearer {text}" if header == "Authorization" else text})

    return make
