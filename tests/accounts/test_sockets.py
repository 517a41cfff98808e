"""Open pages of people who lose their rights: the socket closes, or shows no more than they may still see."""

import asyncio

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.test import Client

from tests.live.communicator import PATIENCE_S, Socket
from webapp.accounts import people, teams
from webapp.accounts.models import Membership, User
from webapp.asgi import application
from webapp.interfaces.kit.following import follow
from webapp.interfaces.live import consumers

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = (b"origin", b"http://127.0.0.1:8000")
# As it is when nobody hurries it: the promise is thirty seconds.
CHECKED_EVERY_S = consumers.POLL_S


@pytest.fixture(autouse=True)
def stage(monkeypatch):
    """In-memory channels belong to an event loop, and every test has its own; polls that a test can wait for."""
    from channels.layers import channel_layers

    channel_layers.backends = {}
    monkeypatch.setattr(consumers, "POLL_S", 0.3)


def sign_out(client, *_others):
    client.post("/accounts/logout/")


LOSSES = {
    "signed out": (sign_out, consumers.SIGNED_OUT),
    "shut out": (lambda client, root, bob, ada: people.deactivate(root, bob), consumers.SIGNED_OUT),
    "sessions ended": (lambda client, root, bob, ada: people.end_sessions(root, bob), consumers.SIGNED_OUT),
    "removed from the team": (
        lambda client, root, bob, ada: teams.remove_member(
            ada, Membership.objects.select_related("user", "team").get(user=bob)
        ),
        consumers.GONE,
    ),
    "no longer in charge of everything": (
        lambda client, root, bob, ada: (
            User.objects.filter(pk=bob.pk).update(is_superuser=False),
            Membership.objects.filter(user=bob).delete(),
        ),
        consumers.GONE,
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_socket_closes_although_nobody_says_that_anything_changed(loss, root, ada, bob, deployment):
    lose, code = LOSSES[loss]
    if "everything" in loss:
        User.objects.filter(pk=bob.pk).update(is_superuser=True)

    def opened():
        client = Client()
        client.force_login(bob)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        headers = [ORIGIN, (b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())]
        return client, Socket(application, follow([f"deployment:{deployment.pk}"]).url, headers=headers)

    async def scene():
        # Closes the connection of its thread behind it: PostgreSQL counts who is still there.
        client, socket = await database_sync_to_async(opened)()
        assert await socket.connect()
        await database_sync_to_async(lose)(client, root, bob, ada)
        while (said := await socket.receive_output(timeout=PATIENCE_S))["type"] != "websocket.close":
            assert "deployment-panel" not in said.get("text", "")
            await socket.say("{}")
        assert said["code"] == code
        await socket.disconnect()

    asyncio.run(asyncio.wait_for(scene(), 300))


def test_the_check_comes_round_within_thirty_seconds():
    assert CHECKED_EVERY_S <= 30
