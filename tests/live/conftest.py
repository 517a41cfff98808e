"""A socket for every test, of its own event loop."""

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client

from tests.live.communicator import Socket
from tests.live.scenes import ORIGIN
from webapp.asgi import application
from webapp.interfaces.kit.following import follow
from webapp.interfaces.live import consumers


@pytest.fixture(autouse=True)
def fresh_layer():
    """In-memory channels belong to an event loop, and every test has its own."""
    from channels.layers import channel_layers

    channel_layers.backends = {}


@pytest.fixture(autouse=True)
def unpolled(monkeypatch):
    """What comes came because somebody said so, however long it took."""
    monkeypatch.setattr(consumers, "POLL_S", 3600)


@pytest.fixture
def quick(monkeypatch, unpolled):
    """Polls and beats that a test can wait for."""
    monkeypatch.setattr(consumers, "POLL_S", 0.3)
    monkeypatch.setattr(consumers, "BEAT_S", 0.2)


@pytest.fixture
def listen():
    """Open the socket of a page that shows `topics` as they are now."""

    def opener(user, *topics, last=None, headers=(ORIGIN,), **more):
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        url = follow(topics).url if last is None else f"/ws/live/?topics={','.join(topics)}&last={last}"
        for name, value in more.items():
            url += f"&{name}={value}"
        sent = [*headers, (b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())]
        return Socket(application, url, headers=sent)

    return sync_to_async(opener)
