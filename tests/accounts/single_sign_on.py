"""Somebody's way through single sign-on, step by step, and who comes that way."""

import html
import re

import httpx

CALLBACK = "http://127.0.0.1:8000/accounts/sso/callback/"
ZOE = {
    "sub": "zoe-1",
    "email": "zoe@example.org",
    "email_verified": True,
    "preferred_username": "zoe",
    "groups": ["ml", "everybody"],
}


def to_provider(client, **typed):
    """Press the button; where the browser is led."""
    reply = client.post("/accounts/sso/login/", typed)
    assert reply.status_code == 200, reply
    return html.unescape(re.search(r'content="0; url=([^"]+)"', reply.content.decode())[1])


def back_from(address):
    """What the provider does with the browser that comes there: the path that it is sent back to."""
    reply = httpx.get(address, trust_env=False)
    assert reply.status_code == 302, reply.text
    return reply.headers["Location"].removeprefix("http://127.0.0.1:8000")


def dance(client, **typed):
    return client.get(back_from(to_provider(client, **typed)))


def signed_in(client):
    return client.get("/").status_code == 200
