"""Invitations and password links: shown once, used once."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from webapp.accounts import links, people, teams
from webapp.accounts.models import AuditEntry, Membership, OneTimeLink, Role, User
from webapp.foundation.errors import Conflict, NotAllowed

pytestmark = pytest.mark.django_db

PASSWORD = "quite-a-long-secret"
TYPED = {"username": "zoe", "password": PASSWORD, "again": PASSWORD, "email": ""}


def path(address):
    return address.removeprefix("http://127.0.0.1:8000")


def token(address):
    return address.partition("token=")[2]


@pytest.fixture
def invitation(ada, team):
    """The row and the address of an invitation as operator."""
    return links.invite(ada, team, Role.OPERATOR, "zoe@example.org")


def test_an_invited_person_makes_an_account_and_is_in(client, invitation, team):
    link, address = invitation
    page = client.get(path(address))
    assert "ada invites you" in page.content.decode()
    reply = client.post("/accounts/link/", {**TYPED, "token": token(address)})
    assert reply.url == "/"
    zoe = User.objects.get(username="zoe")
    assert zoe.check_password(PASSWORD)
    assert zoe.memberships.get().role == "operator"
    assert client.get(reverse("teams:detail", args=[team.slug])).status_code == 200
    link.refresh_from_db()
    assert (link.used_by, link.state) == (zoe, "used")
    verbs = set(AuditEntry.objects.values_list("verb", flat=True))
    assert {"invitation.create", "person.create", "invitation.accept"} <= verbs


def test_looking_at_it_does_not_use_it_up_and_using_it_does(client, invitation):
    _link, address = invitation
    for _ in range(3):
        assert client.get(path(address)).status_code == 200
    client.post("/accounts/link/", {**TYPED, "token": token(address)})
    again = Client().post("/accounts/link/", {**TYPED, "username": "mallory", "token": token(address)})
    assert again.status_code == 410
    assert not User.objects.filter(username="mallory").exists()


def test_somebody_with_an_account_joins_with_it(client, eve, invitation, team):
    client.force_login(eve)
    _link, address = invitation
    assert "signed in as eve" in client.get(path(address)).content.decode()
    client.post("/accounts/link/", {"token": token(address)})
    assert Membership.objects.get(user=eve, team=team).role == "operator"


def test_who_is_in_already_does_not_spend_it(client, bob, invitation):
    link, address = invitation
    client.force_login(bob)
    client.post("/accounts/link/", {"token": token(address)})
    link.refresh_from_db()
    assert link.state == "pending"


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_link_that_ended_leads_nowhere(client, ada, invitation, end):
    link, address = invitation
    if end == "revoked":
        links.revoke_invitation(ada, link)
        with pytest.raises(Conflict):
            links.revoke_invitation(ada, link)
    else:
        OneTimeLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(path(address)).status_code == 410
    assert client.post("/accounts/link/", {**TYPED, "token": token(address)}).status_code == 410


def test_an_invitation_lasts_seven_days_and_only_its_hash_is_kept(invitation):
    link, address = invitation
    assert timedelta(days=6, hours=23) < link.expires_at - timezone.now() <= timedelta(days=7)
    assert len(token(address)) == 43
    assert token(address) not in str(OneTimeLink.objects.values().get())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": "ada"}, "taken"),
        ({"username": "a:b"}, "valid username"),
        ({"again": "something-else"}, "don&#x27;t match"),
        ({"password": "short", "again": "short"}, "too short"),
        ({"password": "password123", "again": "password123"}, "too common"),
    ],
)
def test_what_is_typed_wrong_is_said_beside_the_field_and_the_link_lives(client, ada, invitation, change, field):
    link, address = invitation
    reply = client.post("/accounts/link/", {**TYPED, **change, "token": token(address)})
    assert reply.status_code == 422
    assert field in reply.content.decode()
    link.refresh_from_db()
    assert link.state == "pending"
    assert not User.objects.filter(username="zoe").exists()


@pytest.mark.parametrize("who", ["bob", "eve"])
def test_only_an_admin_invites(request, client, who, team):
    caller = request.getfixturevalue(who)
    with pytest.raises(NotAllowed):
        links.invite(caller, team, Role.VIEWER)
    client.force_login(caller)
    assert client.post(reverse("teams:invite", args=[team.slug]), {"role": "admin"}).status_code == 404


def test_the_page_shows_the_link_once(client, ada, team):
    client.force_login(ada)
    reply = client.post(reverse("teams:invite", args=[team.slug]), {"role": "viewer", "note": "Zoe"})
    address = re.search(r"http://127\.0\.0\.1:8000/accounts/link/\?token=[\w-]{43}", reply.content.decode())[0]
    assert "no-store" in reply["Cache-Control"]
    page = client.get(reverse("teams:detail", args=[team.slug])).content.decode()
    assert "Zoe" in page
    assert token(address) not in page
    assert links.find(token(address)).role == "viewer"


def test_a_password_link_sets_the_password_once_and_ends_every_session(client, root, bob):
    elsewhere = Client()
    elsewhere.force_login(bob)
    _old, first = links.password_link(root, bob)
    _link, address = links.password_link(root, bob)
    assert client.get(path(first)).status_code == 410
    assert "New password for bob" in client.get(path(address)).content.decode()
    assert elsewhere.get("/").status_code == 200
    reply = client.post("/accounts/link/", {"password": PASSWORD, "again": PASSWORD, "token": token(address)})
    assert reply.url == "/accounts/login/"
    bob.refresh_from_db()
    assert bob.check_password(PASSWORD)
    assert elsewhere.get("/").status_code == 302
    assert client.get(path(address)).status_code == 410


def test_only_the_installations_admin_makes_password_links(ada, bob):
    with pytest.raises(NotAllowed):
        links.password_link(ada, bob)


FALLS = {
    "is an operator now": lambda root, ada, team: teams.change_role(root, ada.memberships.get(), Role.OPERATOR),
    "has left the team": lambda root, ada, team: teams.remove_member(root, ada.memberships.get()),
    "is shut out": lambda root, ada, team: people.deactivate(root, ada),
}


@pytest.mark.parametrize("fall", FALLS)
def test_an_invitation_falls_with_the_right_to_make_one(client, root, ada, bob, team, fall):
    """Or an admin could leave a door open for themselves before being removed."""
    _link, address = links.invite(ada, team, Role.ADMIN)
    bob.memberships.update(role=Role.ADMIN)
    FALLS[fall](root, ada, team)
    assert client.get(path(address)).status_code == 410
    assert client.post("/accounts/link/", {**TYPED, "token": token(address)}).status_code == 410
    assert not User.objects.filter(username="zoe").exists()
    client.force_login(bob)
    [shown] = client.get(f"/api/v1/teams/{team.slug}/invitations").json()["items"]
    assert shown["state"] == "void"
    assert "void" in client.get(reverse("teams:detail", args=[team.slug])).content.decode()


def test_losing_the_right_between_the_page_and_the_button_counts_too(root, ada, bob, team):
    link, _address = links.invite(ada, team, Role.ADMIN)
    bob.memberships.update(role=Role.ADMIN)
    teams.remove_member(root, ada.memberships.get())
    with pytest.raises(Conflict):
        links.accept_as_new(link, "zoe", PASSWORD)
    assert not User.objects.filter(username="zoe").exists()


def test_a_password_link_falls_with_the_rights_of_the_admin_who_made_it(client, root, ada, bob):
    User.objects.filter(pk=ada.pk).update(is_superuser=True)
    ada.refresh_from_db()
    _link, address = links.password_link(ada, bob)
    assert client.get(path(address)).status_code == 200
    people.set_installation_admin(root, ada, False)
    assert client.get(path(address)).status_code == 410
