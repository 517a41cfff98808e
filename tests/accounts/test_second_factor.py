"""One-time codes, recovery codes, and an installation that asks everybody for a second factor."""

import json
import re
import time
from types import SimpleNamespace

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from webapp.accounts import keys, people, sign_in
from webapp.accounts.models import AuditEntry, SignInSettings
from webapp.foundation.errors import Conflict, NotAllowed

pytestmark = pytest.mark.django_db
PASSWORD = {"ada": "ada-has-a-password", "bob": "bob-has-a-password", "root": "root-has-a-password"}


@pytest.fixture(autouse=True)
def nothing_remembered():
    cache.clear()
    sign_in.forget()
    yield
    cache.clear()
    sign_in.forget()


@pytest.fixture(autouse=True)
def one_half_minute(monkeypatch):
    """A code is good for half a minute of the clock, and this one stands: no test falls between two."""
    now = time.time()
    monkeypatch.setattr("allauth.mfa.totp.internal.auth.time", SimpleNamespace(time=lambda: now))


def code_of(secret):
    """What the app on the phone shows now."""
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def sign_in_as(name):
    client = Client()
    reply = client.post("/accounts/login/", {"login": name, "password": PASSWORD[name]})
    return client, reply


def activate(name):
    """Set up codes on the pages, as a person does; returns the secret and the signed-in client."""
    client, _reply = sign_in_as(name)
    asked = client.get("/accounts/2fa/totp/activate/")
    assert asked.url.startswith("/accounts/reauthenticate/")
    assert "Confirm it's you" in client.get(asked.url).content.decode()
    client.post(asked.url, {"password": PASSWORD[name]})
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    assert 'src="data:image/svg+xml' in page
    secret = re.search(r'id="totp-secret">(\w+)<', page)[1]
    assert client.post("/accounts/2fa/totp/activate/", {"code": "000000"}).status_code == 200
    reply = client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)})
    assert reply.status_code == 302
    # A code opens once: the next sign-in within the same half minute needs the mark to be forgotten.
    cache.clear()
    return secret, client


def test_signing_in_asks_for_a_code_and_takes_the_right_one_only(ada):
    secret, _client = activate("ada")
    client, reply = sign_in_as("ada")
    assert reply.url.startswith("/accounts/2fa/authenticate/")
    assert client.get("/").status_code == 302
    assert "Two-factor authentication" in client.get(reply.url).content.decode()
    wrong = client.post("/accounts/2fa/authenticate/", {"code": "123456"})
    assert "Incorrect code" in wrong.content.decode()
    assert client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)}).url == "/"
    assert client.get("/").status_code == 200


def test_a_recovery_code_opens_once(ada):
    _secret, client = activate("ada")
    page = client.get("/accounts/2fa/recovery-codes/", follow=True).content.decode()
    codes = re.findall(r"\b\d{8}\b", page)
    assert len(codes) >= 10
    for allowed in (True, False):
        client, _reply = sign_in_as("ada")
        client.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert (client.get("/").status_code == 200) == allowed


def test_the_seeds_are_sealed_in_the_database(ada):
    secret, _client = activate("ada")
    rows = {row.type: str(row.data) for row in Authenticator.objects.all()}
    assert set(rows) == {"totp", "recovery_codes"}
    assert secret not in "".join(rows.values())
    assert all("s2:" in text for text in rows.values())


def test_setting_one_up_is_written_down(ada, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        activate("ada")
    assert "account.totp_activated" in AuditEntry.objects.values_list("verb", flat=True)


def test_every_page_of_the_second_factor_looks_like_ours(ada):
    _secret, client = activate("ada")
    for path in ("", "totp/deactivate/", "recovery-codes/", "recovery-codes/generate/", "webauthn/", "webauthn/add/"):
        page = client.get(f"/accounts/2fa/{path}", follow=True)
        assert page.status_code == 200
        text = page.content.decode()
        assert "Modelyard" in text and "site.css" in text
        assert not re.search(r"<script(?![^>]*(src=|application/json))", text), path
        assert not re.search(r"\sstyle=|\son\w+=", text), path


@pytest.fixture
def required(db):
    SignInSettings.objects.create(is_second_factor_required=True)
    sign_in.forget()


def test_where_everybody_needs_one_people_without_it_can_only_set_one_up(required, bob, deployment):
    client, _reply = sign_in_as("bob")
    for path in ("/", "/deployments/", f"/deployments/{deployment.pk}/", "/keys/"):
        assert client.get(path).url == "/accounts/2fa/"
    assert client.post(f"/deployments/{deployment.pk}/stop/").url == "/accounts/2fa/"
    assert client.get("/api/v1/deployments").status_code == 403
    assert "Two-factor authentication is required" in client.get("/accounts/2fa/").content.decode()
    _secret, client = activate("bob")
    assert client.get("/").status_code == 200


def test_a_browsers_session_may_change_nothing_by_the_api_either(required, bob, team, deployment):
    client, _reply = sign_in_as("bob")
    for method, path, body in (
        ("POST", f"/api/v1/deployments/{deployment.pk}/stop", None),
        ("POST", "/api/v1/keys", {"name": "way round", "team": team.pk}),
        ("GET", "/api/v1/me", None),
        ("GET", "/api/v1/changes", None),
    ):
        reply = client.generic(method, path, json.dumps(body), content_type="application/json")
        assert (reply.status_code, reply.json()["title"]) == (403, "Set up two-factor authentication first."), path
        assert "Security" in reply.json()["detail"] and reply["Content-Type"] == "application/problem+json"
    assert not bob.api_keys.exists()


def test_programs_with_a_key_are_not_asked(required, client, bob, team):
    _key, text = keys.create_key(bob, team, "ci")
    assert client.get("/api/v1/deployments", headers={"X-API-Key": text}).status_code == 200


def test_asking_everybody_wants_an_admin_who_has_tried_it(root):
    with pytest.raises(Conflict, match="No administrator has two-factor"):
        sign_in.configure(root, sign_in.SignInSpec(is_second_factor_required=True))
    activate("root")
    sign_in.configure(root, sign_in.SignInSpec(is_second_factor_required=True))
    assert SignInSettings.objects.get().is_second_factor_required


def test_the_question_costs_no_query_per_page(bob, django_assert_num_queries):
    assert sign_in.is_second_factor_required() is False
    with django_assert_num_queries(0):
        assert sign_in.is_second_factor_required() is False


def test_a_lock_out_holds_for_the_attackers_address_in_every_process(ada):
    for _ in range(8):
        reply = Client(REMOTE_ADDR="203.0.113.9").post("/accounts/login/", {"login": "ada", "password": "guess"})
    assert "Too many failed" in reply.content.decode()
    # Even the right password is refused from there: the count stands in the database, not in a process's memory.
    typed = {"login": "ada", "password": PASSWORD["ada"]}
    assert Client(REMOTE_ADDR="203.0.113.9").post("/accounts/login/", typed).status_code == 200
    assert Client(REMOTE_ADDR="198.51.100.4").post("/accounts/login/", typed).url == "/"
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM accounts_cache WHERE cache_key LIKE %s", ["%login_failed%"])
        assert cursor.fetchone()[0] > 0


def test_an_admin_lets_somebody_back_in_who_lost_phone_and_codes(client, root, bob):
    _secret, open_session = activate("bob")
    client.force_login(root)
    assert "Reset 2FA" in client.get("/people/").content.decode()
    assert client.post(f"/people/{bob.pk}/remove-second-factor/").status_code == 302
    assert open_session.get("/").status_code == 302
    _client, reply = sign_in_as("bob")
    assert reply.url == "/"
    entry = AuditEntry.objects.get(verb="person.remove-second-factor")
    assert (entry.username, entry.subject, entry.detail) == ("root", "bob", {"removed": ["recovery_codes", "totp"]})
    assert "Reset 2FA" not in client.get("/people/").content.decode()


def test_the_api_removes_one_too_and_says_when_there_is_none(client, root, bob):
    activate("bob")
    client.force_login(root)
    path = f"/api/v1/people/{bob.pk}/remove-second-factor"
    assert [client.post(path).status_code for _ in range(2)] == [204, 409]


def test_nobody_else_removes_one_and_nobody_their_own_this_way(root, ada, bob):
    activate("bob")
    activate("root")
    with pytest.raises(NotAllowed):
        people.remove_second_factor(ada, bob)
    with pytest.raises(Conflict, match="Security"):
        people.remove_second_factor(root, root)
    assert Authenticator.objects.filter(user__in=(root, bob), type="totp").count() == 2


def test_whoever_holds_the_machine_lets_the_only_admin_back_in(root):
    activate("root")
    call_command("remove_second_factor", "root")
    assert sign_in_as("root")[1].url == "/"
    for wrong in ("root", "nobody"):
        with pytest.raises(CommandError):
            call_command("remove_second_factor", wrong)


@pytest.mark.django_db(transaction=True)
def test_setting_up_the_app_says_so_once_and_leads_to_codes_to_save(ada):
    _secret, client = activate("ada")
    page = client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert page.count("alert-success") == 1 and "Two-factor authentication is on." in page
    assert "Save these recovery codes" in page and "10 of 10 are left" in page
