"""The installation's admin looks after accounts."""

import pytest
from django.test import Client
from django.urls import reverse

from webapp.accounts import people
from webapp.accounts.models import AuditEntry, User
from webapp.foundation.errors import Conflict, NotAllowed

pytestmark = pytest.mark.django_db


@pytest.fixture
def open_session(bob):
    client = Client()
    client.force_login(bob)
    assert client.get("/").status_code == 200
    return client


def test_shutting_somebody_out_ends_the_session(root, bob, open_session):
    people.deactivate(root, bob)
    assert open_session.get("/").status_code == 302


def test_several_changes_of_a_person_are_made_together_or_not_at_all(root, bob):
    robot = User.objects.create(username="robot", is_service=True)
    entries = AuditEntry.objects.count()
    with pytest.raises(Conflict, match="service account"):
        people.change(root, robot, is_active=False, is_admin=True)
    robot.refresh_from_db()
    assert (robot.is_active, robot.is_superuser, AuditEntry.objects.count()) == (True, False, entries)
    people.change(root, bob, is_active=False, is_admin=True)
    bob.refresh_from_db()
    assert (bob.is_active, bob.is_superuser) == (False, True)


def test_ending_sessions_leaves_the_account_as_it_is(root, bob, open_session):
    people.end_sessions(root, bob)
    assert open_session.get("/").status_code == 302
    assert Client().post("/accounts/login/", {"login": "bob", "password": "bob-has-a-password"}).url == "/"


def test_ending_ones_own_other_sessions_keeps_this_one(bob, open_session):
    here = Client()
    here.force_login(bob)
    here.post(reverse("end_my_sessions"))
    assert here.get("/").status_code == 200
    assert open_session.get("/").status_code == 302


def test_nobody_shuts_themselves_out_and_the_last_admin_stays(root, ada):
    with pytest.raises(Conflict):
        people.deactivate(root, root)
    with pytest.raises(Conflict, match="last admin"):
        people.set_installation_admin(root, root, False)
    people.set_installation_admin(root, ada, True)
    ada.refresh_from_db()
    people.set_installation_admin(ada, root, False)
    assert not User.objects.get(pk=root.pk).is_superuser


@pytest.mark.parametrize("verb", [people.deactivate, people.reactivate, people.end_sessions])
def test_a_teams_admin_has_no_hand_in_accounts(ada, bob, verb):
    with pytest.raises(NotAllowed):
        verb(ada, bob)


@pytest.mark.parametrize("who", ["ada", "bob", "eve"])
def test_the_page_exists_for_the_installations_admin_only(client, request, who):
    client.force_login(request.getfixturevalue(who))
    assert client.get(reverse("people:index")).status_code == 404
    assert client.get("/api/v1/people").status_code == 404


def test_the_page_costs_as_many_queries_for_one_person_as_for_many(client, root, bob, team, count_queries):
    from webapp.accounts.models import Membership

    client.force_login(root)
    few = count_queries(client, reverse("people:index"))
    for number in range(20):
        Membership.objects.create(user=User.objects.create_user(f"person{number}"), team=team)
    assert count_queries(client, reverse("people:index")) == few


@pytest.mark.parametrize("page", ["deactivate", "reactivate", "end_sessions", "make_admin", "take_admin"])
def test_every_button_works(client, root, bob, page):
    client.force_login(root)
    reply = client.post(reverse(f"people:{page}", args=[bob.pk]), follow=True)
    assert "alert-success" in reply.content.decode()
