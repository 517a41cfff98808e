"""Single sign-on against a provider that really issues, signs and checks."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from tests.accounts.single_sign_on import CALLBACK, ZOE, back_from, dance, signed_in, to_provider
from webapp.accounts import keys, sign_in
from webapp.accounts.models import AuditEntry, Membership, Role, Team, User

pytestmark = pytest.mark.django_db


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


def test_the_highest_of_several_rules_counts_and_a_role_given_by_hand_is_kept(client, root, spec, provider, team):
    rules = (("ml", team, Role.VIEWER), ("everybody", team, Role.ADMIN))
    sign_in.configure(root, spec(rules=rules))
    dance(client)
    membership = Membership.objects.get(user__username="zoe")
    assert membership.role == "admin"
    Membership.objects.filter(pk=membership.pk).update(is_by_rule=False, role="viewer")
    dance(Client())
    membership.refresh_from_db()
    assert membership.role == "viewer"


@pytest.mark.parametrize("groups", [[], ["readers"]], ids=["none of the team's groups", "a lesser group"])
def test_a_team_keeps_its_last_admin_until_there_is_another(client, root, spec, provider, ada, team, groups):
    sign_in.configure(root, spec(rules=(("ml", team, Role.ADMIN), ("readers", team, Role.VIEWER))))
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


@pytest.mark.parametrize("name", ["userinfo", "id_token"])
def test_a_claim_within_a_claim_is_nobody_elses_account(client, configured, provider, name):
    """allauth looks into claims of these names, where no check of ours has looked."""
    dance(client)
    zoe = SocialAccount.objects.get()
    client.logout()
    inner = {"modelyard_account": zoe.uid, "email": "mallory@example.org", "preferred_username": "mallory"}
    provider.person = {**ZOE, "sub": "mallory-1", "email": "mallory@example.org", "preferred_username": "mallory"}
    provider.change_claims = {name: inner}
    dance(client)
    assert client.get("/").context["user"].username == "mallory"
    assert SocialAccount.objects.count() == 2


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


def test_new_people_are_kept_out_where_the_admin_says_so(client, root, spec, provider):
    sign_in.configure(root, spec(makes_people=False))
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


def test_a_provider_that_is_down_is_said_to_be(client, root, spec):
    sign_in.configure(root, spec(issuer="http://127.0.0.1:9"))
    reply = client.post("/accounts/sso/login/")
    assert reply.status_code == 502
    assert "is unreachable" in reply.content.decode()
