"""Single sign-on and providers that are slow, lead elsewhere, or know other people by the same subject."""

import json
from urllib.parse import urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from tests.accounts.single_sign_on import CALLBACK, ZOE, back_from, dance, signed_in, to_provider
from tests.parts import oidc
from tests.parts.trickle import trickling
from webapp.accounts import sign_in
from webapp.accounts.models import SignInSettings, User
from webapp.accounts.sign_on import account_key
from webapp.interfaces.pages.accounts import provider_requests

pytestmark = pytest.mark.django_db


def test_the_same_subject_at_another_provider_is_somebody_else(client, configured, provider, root, spec):
    dance(client)
    with oidc.provider(CALLBACK) as another:
        another.person = {**ZOE, "email": "mallory@example.org", "preferred_username": "mallory"}
        sign_in.configure(root, spec(issuer=another.issuer))
        stranger = Client()
        dance(stranger)
        assert stranger.get("/api/v1/me").json()["username"] == "mallory"
    assert {account.user.username for account in SocialAccount.objects.all()} == {"zoe", "mallory"}


def test_a_provider_that_does_not_come_to_an_end_is_let_go(client, root, spec, provider, monkeypatch):
    """Whoever waits for the slow one gets a sound answer: a limit on each silence alone would."""
    body = json.dumps(provider.discovery()).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    monkeypatch.setattr(provider_requests, "LIMIT_S", 0.4)
    with trickling(head + body, 0.05) as slow:
        sign_in.configure(root, spec(issuer=slow.url.rstrip("/")))
        reply = client.post("/accounts/sso/login/")
    assert reply.status_code == 502
    assert "The identity provider is unreachable, or sent an unexpected response." in reply.content.decode()


@pytest.mark.parametrize("name", ["jwks_uri", "token_endpoint"])
def test_a_provider_that_sends_us_elsewhere_on_the_private_network_is_not_followed(
    client, configured, provider, monkeypatch, name
):
    elsewhere = provider.discovery()[name].replace("127.0.0.1", "localhost")
    told = {**provider.discovery(), name: elsewhere}
    monkeypatch.setattr(provider, "discovery", lambda: told)
    back = back_from(to_provider(client))
    provider.asked.clear()
    reply = client.get(back)
    assert reply.status_code == 401 and not signed_in(client)
    assert urlsplit(elsewhere).path not in provider.asked


@pytest.mark.django_db(transaction=True)
def test_accounts_from_before_are_known_by_issuer_and_subject_after_an_upgrade():
    executor = MigrationExecutor(connection)
    try:
        executor.migrate([("accounts", "0004_sign_in_addresses")])
        zoe = User.objects.create_user("zoe")
        told = {"iss": "https://one.example", "sub": "zoe-1"}
        SocialAccount.objects.create(user=zoe, provider="sso", uid="zoe-1", extra_data=told)
        SocialAccount.objects.create(user=zoe, provider="sso", uid="zoe-2", extra_data={})
        SignInSettings.objects.create(issuer="https://now.example")
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    found = set(SocialAccount.objects.values_list("uid", flat=True))
    assert found == {account_key("https://one.example", "zoe-1"), account_key("https://now.example", "zoe-2")}
