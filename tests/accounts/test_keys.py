"""Keys that outlive people, keys that take over from others, and what the gateways are told."""

from datetime import timedelta

import pytest
from django.utils import timezone

from webapp.accounts import keys, people, principals
from webapp.accounts.models import ApiKey, AuditEntry, Membership, Role, User
from webapp.deployments import routes
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS, ROUTES
from webapp.gateway.routing import snapshot
from webapp.gateway.routing.directory import Directory, Offers, People

pytestmark = pytest.mark.django_db


def gateway():
    """What a gateway makes of the snapshot."""
    import json

    told = snapshot.from_parts(*(json.dumps(part.build(0)).encode() for part in (principals, routes)))
    assert told.principals is not None and told.routes is not None
    return Directory(People(told.principals), Offers(told.routes))


def test_a_service_key_survives_the_admin_who_made_it(ada, root, bob, team):
    key, text = keys.create_service_key(ada, team, "nightly", ["inference", "read"])
    teams_of_ada = Membership.objects.filter(user=ada)
    people.deactivate(root, ada)
    teams_of_ada.delete()
    assert keys.find_key(text) == key
    principal = gateway().keys[bytes.fromhex(key.digest)]
    assert (principal.team, principal.user, principal.may_infer) == (team.pk, key.user_id, True)


def test_a_service_account_cannot_sign_in_and_stands_in_no_list_of_people(client, ada, team):
    key, _text = keys.create_service_key(ada, team, "nightly")
    assert not key.user.has_usable_password()
    assert key.user not in User.objects.people()
    assert key.user.username not in [row.user.username for row in team.memberships.all().for_list()]
    typed = {"login": key.user.username, "password": ""}
    client.post("/accounts/login/", typed)
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    ("scopes", "role"), [(["inference"], "viewer"), (["read"], "viewer"), (["manage"], "operator")]
)
def test_a_service_key_may_no_more_than_its_scopes_say(ada, team, scopes, role):
    key, _text = keys.create_service_key(ada, team, "ci", scopes)
    assert key.user.memberships.get().role == role


@pytest.mark.parametrize("who", ["bob", "eve"])
def test_only_an_admin_of_the_team_makes_a_service_key(request, who, team):
    with pytest.raises(NotAllowed):
        keys.create_service_key(request.getfixturevalue(who), team, "ci")


def test_a_service_key_makes_no_further_keys(ada, team):
    key, _text = keys.create_service_key(ada, team, "ci", ["manage"])
    with pytest.raises(NotAllowed, match="no further keys"):
        keys.create_key(key.user, team, "child")


def test_two_admins_may_rotate_a_service_key_and_it_stays_the_same_account(ada, bob, team):
    key, _text = keys.create_service_key(ada, team, "ci")
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    new, text = keys.rotate_key(bob, key, 24)
    assert new.user == key.user
    assert keys.find_key(text) == new


@pytest.mark.parametrize(("overlap_h", "old_works"), [(0, False), (24, True), (168, True)])
def test_rotation_overlaps_as_long_as_chosen(ada, team, overlap_h, old_works):
    key, old = keys.create_key(ada, team, "laptop", ["inference"])
    new, text = keys.rotate_key(ada, key, overlap_h)
    assert keys.find_key(text) == new
    assert (new.scopes, new.name, new.rotated_from) == (["inference"], "laptop", key)
    assert (keys.find_key(old) is not None) == old_works
    key.refresh_from_db()
    if old_works:
        left = key.expires_at - timezone.now()
        assert abs(left - timedelta(hours=overlap_h)) < timedelta(minutes=1)
        assert gateway().keys[bytes.fromhex(key.digest)].expires_at == key.expires_at.timestamp()
    else:
        assert bytes.fromhex(key.digest) not in gateway().keys


def test_rotation_never_lengthens_the_old_keys_life_and_gives_the_new_one_as_long(ada, team):
    soon = timezone.now() + timedelta(hours=1)
    key, _old = keys.create_key(ada, team, "short", expires_at=soon)
    new, _text = keys.rotate_key(ada, key, 168)
    key.refresh_from_db()
    assert key.expires_at == soon
    assert timedelta(minutes=55) < new.expires_at - timezone.now() <= timedelta(hours=1)


def test_a_key_that_has_ended_is_neither_rotated_nor_extended(ada, team):
    key, _text = keys.create_key(ada, team, "gone")
    keys.revoke_key(ada, key)
    with pytest.raises(Conflict):
        keys.rotate_key(ada, key)
    with pytest.raises(Conflict):
        keys.change_key(ada, key, expires_at=None)
    with pytest.raises(Invalid):
        keys.rotate_key(ada, keys.create_key(ada, team, "x")[0], 25)


def test_somebody_elses_key_is_not_rotated_even_by_an_admin(ada, bob, team):
    key, _text = keys.create_key(bob, team, "bobs")
    with pytest.raises(NotAllowed):
        keys.rotate_key(ada, key)


def test_a_shut_out_persons_keys_are_gone_from_the_next_snapshot_and_come_back_with_them(root, bob, team):
    key, _text = keys.create_key(bob, team, "laptop")
    before = events.versions(PRINCIPALS, ROUTES)
    people.deactivate(root, bob)
    after = events.versions(PRINCIPALS, ROUTES)
    assert after == {**before, PRINCIPALS: before[PRINCIPALS] + 1}, "keys are no news of routes"
    assert bytes.fromhex(key.digest) not in gateway().keys
    people.reactivate(root, bob)
    assert bytes.fromhex(key.digest) in gateway().keys


def test_changes_are_written_down_with_before_and_after_and_without_the_key(ada, team):
    key, text = keys.create_key(ada, team, "laptop")
    keys.change_key(ada, key, name="desktop")
    keys.rotate_key(ada, key)
    written = list(AuditEntry.objects.values_list("verb", "subject", "detail"))
    assert ("key.change", key.prefix, {"name": {"before": "laptop", "after": "desktop"}}) in written
    assert text not in str(written)
    assert ApiKey.objects.get(pk=key.pk).name == "desktop"


def test_use_through_the_api_is_remembered_once_a_minute(client, ada, team, django_assert_num_queries):
    key, text = keys.create_key(ada, team, "laptop")
    headers = {"X-API-Key": text}
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    first = ApiKey.objects.get(pk=key.pk).last_used_at
    assert first is not None
    client.get("/api/v1/me", headers=headers)
    assert ApiKey.objects.get(pk=key.pk).last_used_at == first


def test_two_different_credentials_are_refused_whatever_carries_them(client, ada, bob, team):
    _a, one = keys.create_key(ada, team, "one")
    _b, two = keys.create_key(bob, team, "two")
    both = {"Authorization": f"Bearer {one}", "X-API-Key": two}
    assert client.get("/api/v1/me", headers=both).status_code == 401
    same = {"Authorization": f"Bearer {one}", "X-API-Key": one, "api-key": one}
    assert client.get("/api/v1/me", headers=same).json()["username"] == "ada"


def test_a_wrong_key_is_not_saved_by_a_cookie(client, ada):
    client.force_login(ada)
    assert client.get("/api/v1/me").status_code == 200
    assert client.get("/api/v1/me", headers={"Authorization": "Bearer my_00000000_nonsense"}).status_code == 401


def test_a_key_in_the_query_string_opens_nothing(client, ada, team):
    _key, text = keys.create_key(ada, team, "one")
    for name in ("key", "api_key", "api-key", "token", "access_token"):
        assert client.get("/api/v1/me", {name: text}).status_code == 401


def test_gateways_hear_at_once_what_an_open_pages_token_still_opens(root, ada, bob, eve, deployment):
    def lets():
        known = gateway()
        return [known.lets(person.pk, deployment.pk) for person in (root, ada, bob, eve)]

    assert lets() == [True, True, True, False]
    before = events.versions(PRINCIPALS, ROUTES)
    people.deactivate(root, bob)
    assert lets() == [True, True, False, False]
    after = events.versions(PRINCIPALS, ROUTES)
    assert after == {**before, PRINCIPALS: before[PRINCIPALS] + 1}, "keys are no news of routes"
