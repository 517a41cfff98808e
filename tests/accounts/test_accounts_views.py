"""Signing in, and the pages of API keys."""

import re

import pytest
from django.urls import reverse

from webapp.accounts import services
from webapp.accounts.models import ApiKey


@pytest.fixture
def key(ada, team):
    return services.create_key(ada, team, "laptop")[0]


def test_a_key_is_shown_once_with_code_that_holds_it(client, ada, team):
    client.force_login(ada)
    typed = {"name": "laptop", "team": team.pk, "scopes": ["inference"], "days": "30"}
    reply = client.post(reverse("accounts:new"), typed)
    text = re.search(r"my_[0-9a-f]{8}_[\w-]{43}", reply.content.decode())[0]
    assert "no-store" in reply.headers["Cache-Control"]
    assert services.find_key(text) == ApiKey.objects.get()
    assert ApiKey.objects.get().scopes == ["inference"]
    assert ApiKey.objects.get().expires_at is not None
    assert text not in client.get(reverse("accounts:keys")).content.decode()
    assert text not in str(dict(client.session))


def test_a_key_needs_a_scope_and_a_team_of_ones_own(client, eve, team):
    client.force_login(eve)
    own = eve.teams.get()
    assert client.post(reverse("accounts:new"), {"name": "x", "team": own.pk}).status_code == 422
    assert client.post(reverse("accounts:new"), {"name": "x", "team": team.pk, "scopes": ["read"]}).status_code == 422
    assert not ApiKey.objects.exists()


def test_the_owner_revokes_it_after_a_question(client, ada, key):
    client.force_login(ada)
    url = reverse("accounts:revoke", args=[key.pk])
    assert "cannot be undone" in client.get(url).content.decode()
    key.refresh_from_db()
    assert not key.is_revoked
    client.post(url)
    key.refresh_from_db()
    assert key.is_revoked


@pytest.mark.parametrize("person", ["bob", "eve"])
def test_keys_are_personal_even_within_a_team(client, request, key, person):
    client.force_login(request.getfixturevalue(person))
    assert key.prefix not in client.get(reverse("accounts:keys")).content.decode()
    for page in ("revoke", "rotate", "edit"):
        assert client.post(reverse(f"accounts:{page}", args=[key.pk]), {"overlap_h": 0}).status_code == 404
    key.refresh_from_db()
    assert not key.is_revoked


def test_an_admin_of_the_team_sees_and_revokes_a_members_key_but_rotates_it_not(client, ada, bob, team):
    key, text = services.create_key(bob, team, "bobs laptop")
    client.force_login(ada)
    page = client.get(reverse("teams:detail", args=[team.slug])).content.decode()
    assert key.prefix in page
    assert text not in page
    assert client.post(reverse("accounts:rotate", args=[key.pk]), {"overlap_h": 0}).status_code == 404
    client.post(reverse("accounts:revoke", args=[key.pk]))
    assert services.find_key(text) is None


def test_a_rotated_key_is_shown_once_and_the_old_one_works_on(client, ada, key):
    client.force_login(ada)
    reply = client.post(reverse("accounts:rotate", args=[key.pk]), {"overlap_h": "24"})
    text = re.search(r"my_[0-9a-f]{8}_[\w-]{43}", reply.content.decode())[0]
    assert services.find_key(text).rotated_from == key
    key.refresh_from_db()
    assert key.state == "active"
    assert key.expires_at is not None


def test_a_key_is_given_another_name_and_another_end(client, ada, key):
    client.force_login(ada)
    url = reverse("accounts:edit", args=[key.pk])
    assert b"Edit the key laptop" in client.get(url).content
    client.post(url, {"name": "laptop", "days": "90"})
    key.refresh_from_db()
    ends = key.expires_at
    assert ends is not None
    client.post(url, {"name": "desk", "days": "as it is"})
    key.refresh_from_db()
    assert (key.name, key.expires_at) == ("desk", ends)
    client.post(url, {"name": "desk", "days": ""})
    key.refresh_from_db()
    assert key.expires_at is None


def test_signing_in_by_the_form(client, ada):
    assert b"Sign in" in client.get("/accounts/login/").content
    reply = client.post("/accounts/login/", {"login": "ada", "password": "ada-has-a-password"})
    assert reply.url == "/"


def test_signing_in_never_leads_to_another_site(client, ada):
    typed = {"login": "ada", "password": "ada-has-a-password", "next": "https://evil.example/"}
    assert client.post("/accounts/login/", typed).url == "/"


@pytest.mark.parametrize("url", ["/accounts/password/reset/", "/accounts/email/", "/accounts/signup/"])
def test_nobody_makes_an_account_or_has_mail_sent(client, ada, url):
    for reply in (client.get(url), client.post(url, {"email": "ada@example.org", "username": "mallory"})):
        assert reply.url.startswith("/accounts/login/")
    client.force_login(ada)
    assert "No email is sent" in client.get(url, follow=True).content.decode()


@pytest.mark.parametrize("url", ["/accounts/password/change/", "/accounts/logout/", "/accounts/2fa/"])
def test_the_other_pages_of_an_account_stand(client, ada, url):
    client.force_login(ada)
    assert client.get(url).status_code == 200


def test_guessing_passwords_is_held_back_with_a_page_that_says_so(client, ada):
    from django.core.cache import cache

    cache.clear()
    try:
        replies = [client.post("/accounts/login/", {"login": "ada", "password": "guess"}) for _ in range(35)]
        assert "Too many failed" in replies[6].content.decode()
        assert replies[-1].status_code == 429
        assert "Too many attempts" in replies[-1].content.decode()
    finally:
        cache.clear()


def test_the_sign_in_page_offers_no_mail_and_signing_in_says_nothing_more(client, ada):
    page = client.get("/accounts/login/").content.decode()
    assert "Remember me" in page and "Ask an administrator for a link" in page
    assert "Forgot your password?</a>" not in page and "placeholder" not in page
    typed = {"login": "ada", "password": "ada-has-a-password"}
    assert "signed in" not in client.post("/accounts/login/", typed, follow=True).content.decode().lower()


def test_the_password_page_speaks_as_the_others_do(client, ada):
    client.force_login(ada)
    page = client.get("/accounts/password/change/").content.decode()
    assert (
        "Current password" in page and "Confirm password" in page and 'placeholder="' not in page.partition("<main")[2]
    )
