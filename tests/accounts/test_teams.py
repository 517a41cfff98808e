"""Teams: who is in them, as what, and what ends with a membership."""

import pytest

from webapp.accounts import keys, principals, teams
from webapp.accounts.models import AuditEntry, Membership, Role, Team, User
from webapp.deployments import routes
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS

pytestmark = pytest.mark.django_db


def membership(person, team):
    return Membership.objects.select_related("user", "team").get(user=person, team=team)


def known_to_gateways():
    return {entry["digest"] for entry in principals.build(0)["keys"]}


def test_an_admin_changes_a_role_and_it_is_written_down(ada, bob, team):
    teams.change_role(ada, membership(bob, team), Role.VIEWER)
    assert membership(bob, team).role == "viewer"
    entry = AuditEntry.objects.first()
    assert (entry.verb, entry.subject, entry.username) == ("member.role", "bob", "ada")
    assert entry.detail == {"role": {"before": "operator", "after": "viewer"}}


@pytest.mark.parametrize("who", ["bob", "eve"])
def test_only_an_admin_of_the_team_changes_roles_or_removes_others(request, who, ada, bob, eve, team):
    caller = request.getfixturevalue(who)
    with pytest.raises(NotAllowed):
        teams.change_role(caller, membership(ada, team), Role.VIEWER)
    with pytest.raises(NotAllowed):
        teams.remove_member(caller, membership(ada, team))


def test_the_last_admin_stays_one_whoever_asks(ada, root, bob, team):
    for caller in (ada, root):
        with pytest.raises(Conflict, match="last admin"):
            teams.change_role(caller, membership(ada, team), Role.OPERATOR)
        with pytest.raises(Conflict, match="last admin"):
            teams.remove_member(caller, membership(ada, team))
    teams.change_role(ada, membership(bob, team), Role.ADMIN)
    teams.remove_member(ada, membership(ada, team))
    assert not team.memberships.filter(user=ada).exists()


def test_a_service_account_or_a_shut_out_admin_does_not_count_as_one(ada, bob, team):
    keys.create_service_key(ada, team, "ci", ["manage"])
    Membership.objects.filter(user__is_service=True).update(role=Role.ADMIN)
    teams.change_role(ada, membership(bob, team), Role.ADMIN)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(Conflict):
        teams.remove_member(ada, membership(ada, team))


def test_a_removed_members_keys_die_within_one_snapshot_and_stay_dead(ada, bob, team):
    key, text = keys.create_key(bob, team, "laptop")
    assert key.digest in known_to_gateways()
    before = events.version(PRINCIPALS)
    teams.remove_member(ada, membership(bob, team))
    assert events.version(PRINCIPALS) != before
    assert key.digest not in known_to_gateways()
    Membership.objects.create(user=bob, team=team)
    assert keys.find_key(text) is None
    assert AuditEntry.objects.first().detail["ended_keys"] == [key.prefix]


def test_keys_for_another_team_survive_leaving_this_one(ada, bob, team):
    other = Team.objects.create(name="Other", slug="other")
    Membership.objects.create(user=bob, team=other)
    _key, text = keys.create_key(bob, other, "laptop")
    teams.remove_member(bob, membership(bob, team))
    assert keys.find_key(text) is not None


def test_the_installations_admin_makes_renames_and_deletes_teams(root, ada):
    team = teams.create_team(root, "Vision Lab", first_admin=ada)
    assert (team.slug, membership(ada, team).role) == ("vision-lab", "admin")
    keys.create_service_key(root, team, "ci")
    teams.rename_team(root, team, "Vision", "vision")
    assert {"slug": "vision", "id": team.pk} in routes.build(0)["teams"]
    teams.delete_team(root, team)
    assert not Team.objects.filter(slug="vision").exists()
    assert not User.objects.filter(is_service=True).exists()


def test_a_team_that_owns_something_is_not_deleted_and_says_what(root, team, deployment):
    with pytest.raises(Conflict, match="still owns 1 artifact, 1 deployment"):
        teams.delete_team(root, team)


@pytest.mark.parametrize("verb", ["create", "rename", "delete"])
def test_a_teams_admin_is_not_the_installations(ada, team, verb):
    with pytest.raises(NotAllowed):
        {
            "create": lambda: teams.create_team(ada, "Mine"),
            "rename": lambda: teams.rename_team(ada, team, "Mine"),
            "delete": lambda: teams.delete_team(ada, team),
        }[verb]()


@pytest.mark.parametrize(("name", "slug"), [("", "x"), ("New", "new"), ("A", "Not Good"), ("B", "-b")])
def test_a_name_that_cannot_stand_in_an_address_is_refused(root, name, slug):
    with pytest.raises(Invalid):
        teams.create_team(root, name, slug)


def test_two_teams_have_two_names(root, team):
    with pytest.raises(Conflict, match="Another team"):
        teams.create_team(root, team.name, "else")


def test_the_installations_admin_adds_a_member_by_name_on_the_page_too(client, root, ada, eve, team):
    client.force_login(root)
    url = f"/team/{team.slug}/members/add/"
    assert url in client.get(f"/team/{team.slug}/").content.decode()
    client.post(url, {"username": "eve", "role": "viewer"})
    assert Membership.objects.get(team=team, user=eve).role == "viewer"
    told = client.post(url, {"username": "nobody", "role": "viewer"}, follow=True).content.decode()
    assert "There is no user called" in told
    client.force_login(ada)
    assert url not in client.get(f"/team/{team.slug}/").content.decode()
    assert client.post(url, {"username": "eve", "role": "admin"}).status_code == 404
