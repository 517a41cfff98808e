"""Signing in and out in the audit log: with the address, without what was typed, and never more than fits."""

import json

import pytest
from django.core.cache import cache
from django.test import Client

from tests.accounts.test_second_factor import PASSWORD, activate, code_of, sign_in_as
from webapp.accounts import people, sessions
from webapp.accounts.models import AuditEntry, User

pytestmark = pytest.mark.django_db
ATTACKER = "203.0.113.9"


@pytest.fixture(autouse=True)
def nothing_remembered():
    cache.clear()
    yield
    cache.clear()


def entries():
    found = AuditEntry.objects.filter(verb__startswith="session.").order_by("id")
    return [(entry.verb, entry.username, entry.subject, entry.detail) for entry in found]


def try_to_sign_in(name, password, address=ATTACKER):
    return Client(REMOTE_ADDR=address).post("/accounts/login/", {"login": name, "password": password})


def test_signing_in_and_out_is_written_down_with_the_address(ada):
    client = Client(REMOTE_ADDR="198.51.100.4")
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD["ada"]})
    client.post("/accounts/logout/")
    begin, end = entries()
    assert begin == ("session.begin", "ada", "ada", {"with": ["password"]})
    assert end == ("session.end", "ada", "ada", {})
    assert set(AuditEntry.objects.values_list("address", flat=True)) == {"198.51.100.4"}


def test_the_second_factor_is_named(ada):
    secret, _client = activate("ada")
    client, reply = sign_in_as("ada")
    assert [verb for verb, *_rest in entries()] == ["session.begin"]  # from the setting up; half a sign-in is none
    client.post(reply.url, {"code": "123456"})
    client.post(reply.url, {"code": code_of(secret)})
    assert entries()[1:] == [
        ("session.refused", "(not signed in)", "ada", {"reason": "wrong code"}),
        ("session.begin", "ada", "ada", {"with": ["password", "totp"]}),
    ]


def test_a_wrong_password_names_the_account_and_nothing_that_was_typed(ada):
    try_to_sign_in("ada", "canary-one")
    try_to_sign_in("ADA@example.org", "canary-two")
    try_to_sign_in("canary-three", "x")
    assert entries() == [
        ("session.refused", "(not signed in)", "ada", {"reason": "wrong password"}),
        ("session.refused", "(not signed in)", "ada", {"reason": "wrong password"}),
        ("session.refused", "(not signed in)", "(no such account)", {"reason": "unknown"}),
    ]
    everything = json.dumps(list(AuditEntry.objects.values("username", "subject", "detail", "team_name")))
    assert "canary" not in everything
    assert set(AuditEntry.objects.filter(verb="session.refused").values_list("address", flat=True)) == {ATTACKER}


def test_a_lock_out_is_written_down(ada):
    for _ in range(6):
        try_to_sign_in("ada", "guess")
    assert [verb for verb, *_rest in entries()] == ["session.refused"] * 5 + ["session.locked-out"]


def test_a_deactivated_person_is_refused_by_name(ada, root):
    people.deactivate(root, ada)
    try_to_sign_in("ada", PASSWORD["ada"])
    assert entries() == [("session.refused", "(not signed in)", "ada", {"reason": "deactivated"})]


def test_an_attacker_with_many_addresses_cannot_fill_the_log(ada, bob):
    for number in range(30):
        try_to_sign_in("ada", "guess", f"203.0.113.{number}")
        try_to_sign_in(f"name-{number}", "guess", f"203.0.113.{number}")
    found = [(subject, detail) for _verb, _who, subject, detail in entries()]
    assert len(found) == 2 * sessions.MAX_REFUSALS
    assert "not written down" in found[-1][1]["more"] and "more" not in found[0][1]
    # One account's noise hides no other's, and who gets in is always written down.
    try_to_sign_in("bob", "guess")
    try_to_sign_in("ada", PASSWORD["ada"], "198.51.100.4")
    assert [(verb, subject) for verb, _who, subject, _detail in entries()[-2:]] == [
        ("session.refused", "bob"),
        ("session.begin", "ada"),
    ]


def test_an_address_that_two_people_share_is_nobodys(ada, bob):
    User.objects.update(email="office@example.org")
    assert sessions.account_of({"email": "office@example.org"}) is None
    assert sessions.account_of({"username": "ada"}) == ada
    assert sessions.account_of({}) is None


def test_confirming_a_password_wrongly_counts_too(ada):
    client, _reply = sign_in_as("ada")
    client.post("/accounts/reauthenticate/", {"password": "guess"})
    assert entries()[-1] == ("session.refused", "(not signed in)", "ada", {"reason": "wrong password"})


@pytest.mark.parametrize("path", ["/accounts/2fa/webauthn/login/", "/accounts/2fa/authenticate/"])
def test_a_passkey_that_does_not_fit_is_written_down(ada, path):
    client = Client()
    if "authenticate" in path:
        activate("ada")
        client, _reply = sign_in_as("ada")
    client.post(path, {"credential": '{"id": "canary", "rawId": "canary"}'})
    assert entries()[-1][3] == {"reason": "wrong passkey"}
    assert "canary" not in str(entries())


def test_changes_of_password_and_factors_are_written_down(ada, django_capture_on_commit_callbacks):
    typed = {"oldpassword": PASSWORD["ada"], "password1": "a-new-password-7", "password2": "a-new-password-7"}
    with django_capture_on_commit_callbacks(execute=True):
        secret, client = activate("ada")
        assert client.post("/accounts/password/change/", typed).status_code == 302
        assert client.post("/accounts/2fa/recovery-codes/generate/").status_code == 302
        assert client.post("/accounts/2fa/totp/deactivate/").status_code == 302
    verbs = set(AuditEntry.objects.filter(username="ada").values_list("verb", flat=True))
    changes = ("totp_activated", "password_changed", "recovery_codes_generated", "totp_deactivated")
    assert {f"account.{change}" for change in changes} <= verbs
    assert secret not in str(list(AuditEntry.objects.values()))
