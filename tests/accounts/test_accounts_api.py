"""Teams, members, invitations, keys and people through the REST API."""

import json

import pytest

from webapp.accounts import keys
from webapp.accounts.models import ApiKey, Membership, Team, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client):
    """Calls as somebody: api(ada, "POST", "/teams", {...}) gives the status and the document."""

    def call(person, method, path, body=None):
        client.force_login(person)
        data = "" if body is None else json.dumps(body)
        reply = client.generic(method, f"/api/v1{path}", data, content_type="application/json")
        return reply.status_code, json.loads(reply.content) if reply.content else None

    return call


def test_me_says_in_which_teams_one_is_and_as_what(api, ada):
    status, me = api(ada, "GET", "/me")
    assert (status, me["username"], me["is_admin"]) == (200, "ada", False)
    assert [(team["slug"], team["role"]) for team in me["teams"]] == [("research", "admin")]


def test_the_life_of_a_team(api, root, ada):
    status, team = api(root, "POST", "/teams", {"name": "Vision Lab"})
    assert (status, team["slug"]) == (201, "vision-lab")
    assert api(root, "PATCH", "/teams/vision-lab", {"slug": "vision"})[1]["slug"] == "vision"
    status, member = api(root, "POST", "/teams/vision/members", {"username": "ada", "role": "viewer"})
    assert (status, member["role"]) == (201, "viewer")
    assert api(root, "POST", "/teams/vision/members", {"username": "ada"})[0] == 409
    assert api(root, "POST", "/teams/vision/members", {"username": "nobody"})[0] == 422
    assert api(root, "DELETE", "/teams/vision") == (204, None)
    assert api(root, "GET", "/teams/vision")[0] == 404


def test_whether_somebody_exists_is_not_told_to_a_teams_admin(api, ada, eve):
    for name in ("eve", "nobody"):
        assert api(ada, "POST", "/teams/research/members", {"username": name})[0] == 403


@pytest.mark.parametrize(("who", "status"), [("ada", 200), ("bob", 403), ("eve", 404)])
def test_roles_are_an_admins_to_change(request, api, bob, who, status, team):
    caller = request.getfixturevalue(who)
    assert api(caller, "PATCH", f"/teams/research/members/{bob.pk}", {"role": "viewer"})[0] == status
    assert Membership.objects.get(user=bob).role == ("viewer" if status == 200 else "operator")


@pytest.mark.parametrize(("who", "status"), [("ada", 201), ("bob", 404), ("eve", 404)])
def test_invitations_are_an_admins_to_make(request, api, team, who, status):
    caller = request.getfixturevalue(who)
    found, made = api(caller, "POST", "/teams/research/invitations", {"role": "viewer", "note": "Zoe"})
    assert found == status
    if status == 201:
        assert made["link"].startswith("http://127.0.0.1:8000/accounts/link/?token=")
        listed = api(caller, "GET", "/teams/research/invitations")[1]["items"]
        assert [(row["note"], row["state"], "link" in row) for row in listed] == [("Zoe", "pending", False)]
        assert api(caller, "DELETE", f"/teams/research/invitations/{made['id']}")[0] == 204
        assert api(caller, "DELETE", f"/teams/research/invitations/{made['id']}")[0] == 409


def test_somebody_leaves(api, ada, bob, team):
    assert api(bob, "DELETE", f"/teams/research/members/{bob.pk}")[0] == 204
    assert api(ada, "DELETE", f"/teams/research/members/{ada.pk}")[0] == 409


def test_a_key_is_renamed_extended_rotated_and_revoked(api, ada):
    _status, key = api(ada, "POST", "/keys", {"name": "laptop", "scopes": ["inference"]})
    path = f"/keys/{key['id']}"
    assert api(ada, "PATCH", path, {"name": "desktop"})[1]["name"] == "desktop"
    assert api(ada, "PATCH", path, {"expires_at": "2099-01-01T00:00:00Z"})[1]["expires_at"].startswith("2099")
    assert api(ada, "PATCH", path, {"expires_at": "2099-01-01T00:00:00"})[0] == 422
    assert api(ada, "PATCH", path, {"expires_at": None})[1]["expires_at"] is None
    status, new = api(ada, "POST", f"{path}/rotate", {"overlap_h": 24})
    assert (status, new["scopes"], new["name"]) == (201, ["inference"], "desktop")
    assert keys.find_key(new["key"]) is not None
    assert keys.find_key(key["key"]) is not None
    assert api(ada, "DELETE", path)[0] == 204
    assert keys.find_key(key["key"]) is None
    assert api(ada, "POST", f"{path}/rotate", {"overlap_h": 25})[0] == 422


def test_a_service_key_is_listed_with_the_teams_keys_and_not_among_ones_own(api, ada, bob, team):
    status, made = api(ada, "POST", "/teams/research/keys", {"name": "ci"})
    assert (status, made["is_service"], made["owner"]) == (201, True, "the team")
    keys.create_key(bob, team, "bobs")
    assert {row["owner"] for row in api(ada, "GET", "/teams/research/keys")[1]["items"]} == {"the team", "bob"}
    assert api(ada, "GET", "/keys")[1]["count"] == 0
    assert api(bob, "GET", "/teams/research/keys")[0] == 404


def test_a_service_key_works_in_the_api_as_its_team(client, ada, team, deployment):
    _key, text = keys.create_service_key(ada, team, "ci", ["read"])
    headers = {"X-API-Key": text}
    assert client.get("/api/v1/deployments", headers=headers).json()["count"] == 1
    assert client.post(f"/api/v1/deployments/{deployment.pk}/stop", headers=headers).status_code == 403


def test_people_are_shut_out_and_let_in_again(api, root, bob):
    assert api(root, "PATCH", f"/people/{bob.pk}", {"is_active": False})[1]["is_active"] is False
    assert api(root, "PATCH", f"/people/{bob.pk}", {"is_active": True})[1]["is_active"] is True
    assert api(root, "POST", f"/people/{bob.pk}/end-sessions")[0] == 204
    status, link = api(root, "POST", f"/people/{bob.pk}/password-link")
    assert (status, "token=" in link["link"]) == (201, True)
    assert api(root, "PATCH", f"/people/{root.pk}", {"is_active": False})[0] == 409


def test_the_settings_of_signing_in_are_read_without_their_secret(api, root, team):
    spec = {
        "is_sso_on": True,
        "issuer": "https://login.example.org",
        "client_id": "modelyard",
        "client_secret": "hunter2",
        "rules": [{"group": "ml", "team": "research", "role": "viewer"}],
    }
    status, found = api(root, "PUT", "/settings/sign-in", spec)
    assert status == 200
    assert found["rules"] == spec["rules"]
    assert "hunter2" not in json.dumps(api(root, "GET", "/settings/sign-in"))
    assert api(root, "PUT", "/settings/sign-in", {**spec, "rules": [{**spec["rules"][0], "team": "x"}]})[0] == 422


@pytest.mark.parametrize("path", ["/team/", "/team/research/", "/keys/", "/people/"])
def test_a_page_costs_the_same_for_one_row_as_for_many(client, root, ada, bob, team, count_queries, path):
    keys.create_key(ada, team, "one")
    keys.create_key(root, team, "one")
    keys.create_service_key(ada, team, "one")
    client.force_login(root)
    few = count_queries(client, path)
    for number in range(15):
        person = User.objects.create_user(f"person{number}")
        Membership.objects.create(user=person, team=Team.objects.create(name=f"T{number}", slug=f"t{number}"))
        Membership.objects.create(user=person, team=team)
        keys.create_key(person, team, "laptop")
        keys.create_key(root, team, f"key {number}")
    assert count_queries(client, path) == few
    assert ApiKey.objects.count() > 30
