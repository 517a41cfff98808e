"""The short way for gateways that are up to date."""

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator

from webapp.foundation import secret_store
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS, ROUTES
from webapp.interfaces.internal.polls import Polls

pytestmark = pytest.mark.django_db(transaction=True)


async def inner(scope, receive, send):
    """Stands for the site: answers 418, so that one sees who answered."""
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@async_to_sync
async def status(query, secret=None, path="/internal/gateway/snapshot", method="GET"):
    headers = [(b"x-modelyard-internal", secret)] if secret is not None else []
    scope = {"type": "http", "path": path, "method": method, "query_string": query.encode(), "headers": headers}
    caller = ApplicationCommunicator(Polls(inner), scope)
    await caller.send_input({"type": "http.request", "body": b""})
    return (await caller.receive_output())["status"]


def test_only_a_gateway_that_is_up_to_date_is_answered_here(team):
    secret = secret_store.derive("internal").hex().encode()
    keys, routes = events.version(PRINCIPALS), events.version(ROUTES)
    current = f"principals={keys}&routes={routes}"
    assert status(current, secret) == 304
    assert status(f"principals={keys}&routes=older", secret) == 418
    assert status(f"principals=older&routes={routes}", secret) == 418
    assert status(f"routes={routes}", secret) == 418
    assert status(f"version={routes}", secret) == 418, "a gateway of a release before"
    assert status("", secret) == 418
    assert status(current, b"wrong") == 418
    assert status(current) == 418
    assert status(current, secret, method="POST") == 418
    assert status(current, secret, path="/internal/gateway/usage") == 418
