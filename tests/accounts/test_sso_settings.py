"""What an admin decides about single sign-on: the settings, and whom its provider is believed about."""

import html

import pytest
from django.test import Client

from tests.accounts.single_sign_on import dance, signed_in
from webapp.accounts import sign_in
from webapp.accounts.models import AuditEntry, SignInSettings, User
from webapp.accounts.sign_on import account_key
from webapp.foundation.errors import Invalid, NotAllowed

pytestmark = pytest.mark.django_db


def test_the_page_saves_the_settings_and_never_shows_the_secret(client, root, provider, team):
    client.force_login(root)
    typed = {
        "is_sso_on": "on",
        "sso_name": "Example",
        "issuer": provider.issuer,
        "client_id": "modelyard",
        "client_secret": "hunter2-hunter2",
        "email_domains": "Example.org @other.example",
        "group_claim": "groups",
        "rules": "ml = research : operator\n/org/ops=with = research : admin",
    }
    assert client.post("/settings/sign-in/", typed).status_code == 302
    found = SignInSettings.objects.get()
    assert "hunter2" not in found.client_secret
    assert sign_in.client_secret(found) == "hunter2-hunter2"
    assert found.email_domains == ["example.org", "other.example"]
    page = client.get("/settings/sign-in/").content.decode()
    assert "hunter2" not in page
    assert "/org/ops=with = research : admin" in html.unescape(page)
    client.post("/settings/sign-in/", {**typed, "client_secret": ""})
    assert sign_in.client_secret(SignInSettings.objects.get()) == "hunter2-hunter2"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"issuer": "http://login.example.org"}, "issuer"),
        ({"issuer": "javascript:alert(1)"}, "issuer"),
        ({"issuer": "https://[::1"}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"client_id": ""}, "client_id"),
        ({"client_secret": ""}, "client_secret"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_field(root, spec, change, field):
    with pytest.raises(Invalid) as refusal:
        sign_in.configure(root, spec(**change))
    assert field in refusal.value.fields
    assert not SignInSettings.objects.exists()


def test_a_rule_for_a_team_that_is_not_there_is_said_beside_the_field(client, root, provider):
    client.force_login(root)
    reply = client.post("/settings/sign-in/", {"rules": "ml = nowhere : operator"})
    assert reply.status_code == 422
    assert "is not group = team : role" in reply.content.decode()


def test_only_the_installations_admin_changes_how_people_sign_in(client, ada, spec):
    with pytest.raises(NotAllowed):
        sign_in.configure(ada, spec())
    client.force_login(ada)
    assert client.get("/settings/sign-in/").status_code == 404
    assert client.put("/api/v1/settings/sign-in", {}, "application/json").status_code == 404


# What an app of Microsoft Entra ID sends without optional claims: no e-mail claim, nothing about verification.
ENTRA = {
    "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "oid": "00000000-0000-0000-66f3-3332eca7ea81",
    "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47", "preferred_username": "zoe@example.org", "name": "Zoe", "ver": "2.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "changes"),
    [
        ({"email": "zoe@example.org"}, {}),
        ({"email": "zoe@example.org", "xms_edov": True}, {}),
        ({"email": "zoe@example.org", "xms_edov": "1"}, {}),
        ({}, {"email_claim": "preferred_username"}),
        ({"upn": "Zoe@Example.org"}, {"email_claim": "upn"}),
    ],
)
def test_people_of_a_provider_that_never_says_verified_come_in_when_it_is_trusted(
    client, root, spec, provider, claims, changes
):
    provider.person, provider.userinfo = {**ENTRA, **claims}, {"sub": ENTRA["sub"]}
    sign_in.configure(root, spec(**changes, trusts_addresses=True))
    dance(client)
    assert signed_in(client)
    assert User.objects.get(email="zoe@example.org").socialaccount_set.get().uid == account_key(
        provider.issuer, ENTRA["sub"]
    )


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email_verified": "false"}, {"xms_edov": False}])
def test_trust_does_not_reach_what_the_provider_itself_calls_unverified(client, root, spec, provider, claims):
    provider.person = {**ENTRA, "email": "zoe@example.org", **claims}
    sign_in.configure(root, spec(trusts_addresses=True))
    reply = dance(client)
    assert reply.status_code == 403 and "is not verified" in reply.content.decode()
    assert not User.objects.filter(email="zoe@example.org").exists()


def test_a_trusted_address_is_still_held_against_the_domains_and_takes_over_nobody(client, root, spec, provider, ada):
    sign_in.configure(root, spec(trusts_addresses=True))
    provider.person = {**ENTRA, "email": "guest@elsewhere.example"}
    assert "not in an allowed email domain" in dance(client).content.decode()
    provider.person = {**ENTRA, "email": ada.email}
    assert "There is an account with ada@example.org already" in dance(Client()).content.decode()
    assert not signed_in(client)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"issuer": "https://login.microsoftonline.com/common/v2.0"}, "issuer", "every tenant"),
        ({"issuer": "https://login.microsoftonline.com/Organizations/v2.0"}, "issuer", "every tenant"),
        ({"issuer": "https://login.microsoftonline.us/consumers/v2.0/"}, "issuer", "every tenant"),
        ({"issuer": "https://sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad/"}, "issuer", "every tenant"),
        ({"issuer": "https://accounts.google.com", "trusts_addresses": True}, "trusts_addresses", "says itself"),
        ({"trusts_addresses": True, "email_domains": ()}, "email_domains", "Name the domains"),
        ({"email_claim": "upn"}, "email_claim", "trust the addresses"),
    ],
)
def test_trust_that_would_let_anybody_in_is_refused_with_its_field(root, spec, change, field, words):
    with pytest.raises(Invalid) as refusal:
        sign_in.configure(root, spec(**change))
    assert words in refusal.value.fields[field]
    assert not SignInSettings.objects.exists()


@pytest.mark.parametrize(
    "issuer",
    ["https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", "https://accounts.google.com",
     "https://keycloak.example.org/realms/main", "https://authentik.example.org/application/o/modelyard/"],
)  # fmt: skip
def test_the_issuers_of_the_help_are_taken_and_nothing_is_trusted_by_itself(root, spec, issuer):
    saved = sign_in.configure(root, spec(issuer=issuer))
    assert (saved.email_claim, saved.trusts_addresses) == ("email", False)


def test_a_token_of_another_tenant_is_refused(client, root, spec, provider, monkeypatch):
    provider.person = {**ENTRA, "email": "zoe@example.org"}
    sign_in.configure(root, spec(trusts_addresses=True))
    # The provider here stands for Microsoft's, whose issuer has the tenant in its path.
    monkeypatch.setattr(sign_in, "tenant_of", lambda issuer: "another-tenant")
    assert "Tenant mismatch" in dance(client).content.decode()
    monkeypatch.setattr(sign_in, "tenant_of", lambda issuer: ENTRA["tid"])
    dance(client)
    assert signed_in(client)


def test_what_is_trusted_is_typed_on_the_page_sent_to_the_api_and_written_down(client, root, provider, team):
    client.force_login(root)
    typed = {
        "is_sso_on": "on", "issuer": provider.issuer, "client_id": "modelyard", "client_secret": "hunter2-hunter2",
        "email_domains": "example.org", "email_claim": "upn", "trusts_addresses": "on", "rules": "",
    }  # fmt: skip
    assert client.post("/settings/sign-in/", typed).status_code == 302
    told = client.get("/api/v1/settings/sign-in").json()
    assert (told["email_claim"], told["trusts_addresses"]) == ("upn", True)
    entry = AuditEntry.objects.filter(verb="sign-in.configure").latest("pk")
    assert entry.detail["trusts_addresses"] == {"before": False, "after": True}
    page = client.get("/settings/sign-in/").content.decode()
    assert "Trust email addresses from this provider" in page and "/help/single-sign-on/" in page
    sent = {**{name: told[name] for name in told if name != "rules"}, "email_claim": "email", "trusts_addresses": False}
    assert client.put("/api/v1/settings/sign-in", sent, "application/json").status_code == 200
    assert not SignInSettings.objects.get().trusts_addresses
