"""Single sign-on against a provider that really issues, signs and checks."""

import html
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import cache
from django.test import Client

from tests.parts import oidc
from webapp.accounts import keys, sign_in
from webapp.accounts.models import AuditEntry, Membership, Role, SignInSettings, Team, User
from webapp.foundation.errors import Invalid, NotAllowed

pytestmark = pytest.mark.django_db

CALLBACK = "http://127.0.0.1:8000/accounts/sso/callback/"
ZOE = {
    "sub": "zoe-1",
    "email": "zoe@example.org",
    "email_verified": True,
    "preferred_username": "zoe",
    "groups": ["ml", "everybody"],
}


@pytest.fixture(scope="module")
def running():
    with oidc.provider(CALLBACK) as provider:
        yield provider


@pytest.fixture
def provider(running):
    """The provider with Zoe at the browser, telling the truth."""
    running.person, running.change_claims, running.userinfo = dict(ZOE), {}, None
    running.signing_key, running.algorithm, running.announced_issuer = running.key, "RS256", None
    cache.clear()
    return running


@pytest.fixture
def wish(provider, team):
    """The settings as an admin would type them, with changes: wish(makes_people=False)."""

    def make(**changes):
        typed = {
            "is_sso_on": True,
            "sso_name": "Example",
            "issuer": provider.issuer,
            "client_id": oidc.CLIENT_ID,
            "client_secret": oidc.CLIENT_SECRET,
            "email_domains": ("example.org",),
            "makes_people": True,
            "rules": (("ml", team, Role.OPERATOR),),
        }
        return sign_in.Wish(**{**typed, **changes})

    return make


@pytest.fixture
def configured(root, wish):
    sign_in.configure(root, wish())


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


def test_a_new_person_comes_in_with_the_role_of_the_group(client, configured, team):
    assert "Continue with Example" in client.get("/accounts/login/").content.decode()
    assert dance(client).url == "/"
    assert signed_in(client)
    zoe = User.objects.get(username="zoe")
    assert zoe.memberships.get().role == "operator"
    assert (zoe.is_superuser, zoe.has_usable_password(), zoe.email) == (False, False, "zoe@example.org")


def test_it_leads_to_the_page_one_wanted_and_never_to_another_site(client, configured):
    assert dance(client, next="/keys/").url == "/keys/"
    assert dance(Client(), next="https://evil.example/").url == "/"


def test_state_nonce_and_pkce_go_along_and_differ_each_time(client, configured):
    asked = [parse_qs(urlsplit(to_provider(client)).query) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]
    assert asked[0]["code_challenge_method"] == ["S256"]
    assert asked[0]["redirect_uri"] == [CALLBACK]


def test_groups_are_followed_at_every_sign_in_and_what_was_given_by_hand_stays(client, configured, provider, ada, team):
    other = Team.objects.create(name="Other", slug="other")
    dance(client)
    zoe = User.objects.get(username="zoe")
    Membership.objects.create(user=zoe, team=other, role=Role.ADMIN)
    _key, text = keys.create_key(zoe, team, "laptop")
    provider.person["groups"] = []
    dance(Client())
    assert list(zoe.memberships.values_list("team__slug", "role")) == [("other", "admin")]
    assert keys.find_key(text) is None
    provider.person["groups"] = ["ml"]
    dance(Client())
    assert zoe.memberships.count() == 2


def test_the_highest_of_several_rules_counts_and_a_role_given_by_hand_is_kept(client, root, wish, provider, team):
    rules = (("ml", team, Role.VIEWER), ("everybody", team, Role.ADMIN))
    sign_in.configure(root, wish(rules=rules))
    dance(client)
    membership = Membership.objects.get(user__username="zoe")
    assert membership.role == "admin"
    Membership.objects.filter(pk=membership.pk).update(is_by_rule=False, role="viewer")
    dance(Client())
    membership.refresh_from_db()
    assert membership.role == "viewer"


@pytest.mark.parametrize("groups", [[], ["readers"]], ids=["none of the team's groups", "a lesser group"])
def test_a_team_keeps_its_last_admin_until_there_is_another(client, root, wish, provider, ada, team, groups):
    sign_in.configure(root, wish(rules=(("ml", team, Role.ADMIN), ("readers", team, Role.VIEWER))))
    dance(client)
    team.memberships.exclude(user__username="zoe").update(role=Role.OPERATOR)
    _key, text = keys.create_key(User.objects.get(username="zoe"), team, "laptop")
    provider.person["groups"] = groups
    dance(Client())
    zoe = team.memberships.get(user__username="zoe")
    assert (zoe.role, zoe.is_by_rule) == ("admin", True)
    assert keys.find_key(text) is not None
    kept = AuditEntry.objects.get(verb="member.last-admin-kept")
    assert (kept.subject, kept.team, kept.detail["role"]["before"]) == ("zoe", team, "admin")
    team.memberships.filter(user=ada).update(role=Role.ADMIN)
    dance(Client())
    left = list(team.memberships.filter(user__username="zoe").values_list("role", flat=True))
    assert left == (["viewer"] if groups else [])
    assert AuditEntry.objects.filter(verb="member.last-admin-kept").count() == 1


def forged_state(client, path):
    query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    return client.get("/accounts/sso/callback/?" + urlencode({**query, "state": "somebody-elses"}))


def test_a_wrong_state_is_refused(client, configured):
    assert forged_state(client, back_from(to_provider(client))).status_code == 401
    assert not signed_in(client)


def test_an_answer_meant_for_another_browser_is_refused(client, configured):
    path = back_from(to_provider(client))
    victim = Client()
    assert victim.get(path).status_code == 401
    assert not signed_in(victim)


def test_an_answer_opens_once(client, configured):
    path = back_from(to_provider(client))
    client.get(path)
    client.post("/accounts/logout/")
    assert client.get(path).status_code == 401
    assert not signed_in(client)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"iss": "https://evil.example"}, "not valid"),
        ({"aud": "another-client"}, "not valid"),
        ({"aud": ["modelyard", "another"], "azp": "another"}, "another client"),
        ({"exp": 1_000_000_000}, "not valid"),
        ({"sub": None}, "not valid"),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(client, configured, provider, lie, says):
    provider.change_claims = lie
    reply = dance(client)
    assert reply.status_code == 401
    assert says in reply.content.decode()
    assert not signed_in(client)
    assert not User.objects.filter(username="zoe").exists()


def test_a_token_signed_by_somebody_else_or_by_nobody_is_refused(client, configured, provider):
    provider.signing_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert dance(client).status_code == 401
    provider.signing_key, provider.algorithm = None, "none"
    assert dance(client).status_code == 401
    provider.signing_key, provider.algorithm = "x" * 64, "HS256"
    assert dance(client).status_code == 401
    assert not signed_in(client)


def test_a_provider_that_calls_itself_otherwise_is_refused(client, configured, provider):
    provider.announced_issuer = "https://evil.example"
    reply = client.post("/accounts/sso/login/")
    assert reply.status_code == 502
    assert "reports https://evil.example" in reply.content.decode()
    assert not signed_in(client)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "does not say whether zoe@example.org is verified"),
        ({"email_verified": 1}, "not verified"),
        ({"email": None}, "sent no address in the claim email. Claims that hold an address: upn."),
        ({"email": "zoe@evil.example"}, "not in an allowed email domain"),
        ({"email": "zoe@example.org.evil.example"}, "not in an allowed email domain"),
        ({"email": "zoe@evilexample.org"}, "not in an allowed email domain"),
    ],
)
def test_an_address_that_is_unverified_or_from_elsewhere_is_refused(client, configured, provider, change, says):
    provider.change_claims = {"upn": "zoe@corp.example", **change}
    provider.userinfo = {"sub": "zoe-1"}
    reply = dance(client)
    assert reply.status_code == 403
    assert "Settings &gt; Sign-in" in reply.content.decode() or "Single sign-on" in reply.content.decode()
    assert says in reply.content.decode()
    assert not User.objects.filter(username="zoe").exists()


def test_names_may_come_from_userinfo_but_roles_only_from_the_signed_token(client, configured, provider):
    provider.change_claims = {"email": None, "groups": None}
    provider.userinfo = dict(ZOE)
    dance(client)
    assert signed_in(client)
    assert not User.objects.get(username="zoe").memberships.exists()


def test_userinfo_about_somebody_else_is_refused(client, configured, provider):
    provider.change_claims = {"email": None}
    provider.userinfo = {**ZOE, "sub": "somebody-else"}
    reply = dance(client)
    assert "different users" in reply.content.decode()
    assert not signed_in(client)


def test_an_address_that_a_local_account_has_does_not_hand_that_account_over(client, configured, provider, ada):
    provider.person = {**ZOE, "email": "ada@example.org"}
    reply = dance(client)
    assert reply.status_code == 403
    assert "There is an account" in reply.content.decode()
    assert not signed_in(client)


def test_somebody_with_an_account_connects_it_and_then_signs_in_by_it(client, configured, provider, bob):
    provider.person = {**ZOE, "sub": "bob-1", "email": "bob@example.org"}
    client.post("/accounts/login/", {"login": "bob", "password": "bob-has-a-password"})
    assert dance(client, connect="1").url == "/accounts/2fa/"
    assert SocialAccount.objects.get().user == bob
    assert "Connected as bob@example.org" in client.get("/accounts/2fa/").content.decode()
    again = Client()
    dance(again)
    assert again.get("/api/v1/me").json()["username"] == "bob"
    again.post(f"/accounts/sso/{SocialAccount.objects.get().pk}/disconnect/")
    assert not SocialAccount.objects.exists()


def test_nobody_disconnects_somebody_elses(client, configured, provider, bob, eve):
    account = SocialAccount.objects.create(user=bob, provider="sso", uid="bob-1")
    client.force_login(eve)
    assert client.post(f"/accounts/sso/{account.pk}/disconnect/").status_code == 404


def test_a_person_who_was_shut_out_stays_out(client, configured, root):
    dance(client)
    User.objects.filter(username="zoe").update(is_active=False)
    again = Client()
    dance(again)
    assert not signed_in(again)


def test_new_people_are_kept_out_where_the_admin_says_so(client, root, wish, provider):
    sign_in.configure(root, wish(makes_people=False))
    reply = dance(client)
    assert reply.status_code == 403
    assert "no account here yet" in reply.content.decode()
    assert not User.objects.filter(username="zoe").exists()


def test_a_user_name_that_is_taken_is_not_taken_over(client, configured, provider, ada):
    provider.person = {**ZOE, "preferred_username": "ada"}
    dance(client)
    assert client.get("/api/v1/me").json()["username"] != "ada"


def test_somebody_who_cancels_is_told_so(client, configured):
    state = parse_qs(urlsplit(to_provider(client)).query)["state"][0]
    reply = client.get("/accounts/sso/callback/?" + urlencode({"state": state, "error": "access_denied"}))
    assert "cancelled" in reply.content.decode()


def test_without_settings_there_is_no_such_door(client, db):
    assert client.post("/accounts/sso/login/").status_code == 404
    assert client.get("/accounts/sso/callback/?code=x&state=y").status_code == 404
    assert "Continue with Example" not in client.get("/accounts/login/").content.decode()


def test_a_provider_that_is_down_is_said_to_be(client, root, wish):
    sign_in.configure(root, wish(issuer="http://127.0.0.1:9"))
    reply = client.post("/accounts/sso/login/")
    assert reply.status_code == 502
    assert "is unreachable" in reply.content.decode()


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
def test_settings_that_cannot_work_are_refused_with_their_field(root, wish, change, field):
    with pytest.raises(Invalid) as refusal:
        sign_in.configure(root, wish(**change))
    assert field in refusal.value.fields
    assert not SignInSettings.objects.exists()


def test_a_rule_for_a_team_that_is_not_there_is_said_beside_the_field(client, root, provider):
    client.force_login(root)
    reply = client.post("/settings/sign-in/", {"rules": "ml = nowhere : operator"})
    assert reply.status_code == 422
    assert "is not group = team : role" in reply.content.decode()


def test_only_the_installations_admin_changes_how_people_sign_in(client, ada, wish):
    with pytest.raises(NotAllowed):
        sign_in.configure(ada, wish())
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
    client, root, wish, provider, claims, changes
):
    provider.person, provider.userinfo = {**ENTRA, **claims}, {"sub": ENTRA["sub"]}
    sign_in.configure(root, wish(**changes, trusts_addresses=True))
    dance(client)
    assert signed_in(client)
    assert User.objects.get(email="zoe@example.org").socialaccount_set.get().uid == ENTRA["sub"]


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email_verified": "false"}, {"xms_edov": False}])
def test_trust_does_not_reach_what_the_provider_itself_calls_unverified(client, root, wish, provider, claims):
    provider.person = {**ENTRA, "email": "zoe@example.org", **claims}
    sign_in.configure(root, wish(trusts_addresses=True))
    reply = dance(client)
    assert reply.status_code == 403 and "is not verified" in reply.content.decode()
    assert not User.objects.filter(email="zoe@example.org").exists()


def test_a_trusted_address_is_still_held_against_the_domains_and_takes_over_nobody(client, root, wish, provider, ada):
    sign_in.configure(root, wish(trusts_addresses=True))
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
def test_trust_that_would_let_anybody_in_is_refused_with_its_field(root, wish, change, field, words):
    with pytest.raises(Invalid) as refusal:
        sign_in.configure(root, wish(**change))
    assert words in refusal.value.fields[field]
    assert not SignInSettings.objects.exists()


@pytest.mark.parametrize(
    "issuer",
    ["https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", "https://accounts.google.com",
     "https://keycloak.example.org/realms/main", "https://authentik.example.org/application/o/modelyard/"],
)  # fmt: skip
def test_the_issuers_of_the_help_are_taken_and_nothing_is_trusted_by_itself(root, wish, issuer):
    saved = sign_in.configure(root, wish(issuer=issuer))
    assert (saved.email_claim, saved.trusts_addresses) == ("email", False)


def test_a_token_of_another_tenant_is_refused(client, root, wish, provider, monkeypatch):
    provider.person = {**ENTRA, "email": "zoe@example.org"}
    sign_in.configure(root, wish(trusts_addresses=True))
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
