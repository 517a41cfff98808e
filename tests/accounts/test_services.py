"""Keys, roles and the first admin."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from webapp.accounts import services
from webapp.accounts.models import ApiKey, AuditEntry, Membership, Role, Team, User
from webapp.foundation.errors import Invalid, NotAllowed
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS

pytestmark = pytest.mark.django_db


def test_a_key_opens_its_door_until_it_is_revoked(ada, team):
    key, text = services.create_key(ada, team, "laptop")
    assert services.find_key(text) == key
    services.revoke_key(ada, key)
    assert services.find_key(text) is None


def test_only_the_digest_of_a_key_is_stored(ada, team):
    _key, text = services.create_key(ada, team, "laptop")
    stored = ApiKey.objects.values_list("name", "prefix", "digest").get()
    assert not any(text in value or text[12:] in value for value in stored)
    assert len(text) == len("my_") + 8 + 1 + 43


def test_an_expired_key_opens_nothing(ada, team):
    _key, text = services.create_key(ada, team, "old", expires_at=timezone.now() - timedelta(seconds=1))
    assert services.find_key(text) is None


def test_a_disabled_person_has_no_keys(ada, team):
    _key, text = services.create_key(ada, team, "laptop")
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert services.find_key(text) is None


def test_a_key_needs_a_known_scope(ada, team):
    with pytest.raises(Invalid, match="Unknown scope everything"):
        services.create_key(ada, team, "laptop", ["everything"])
    with pytest.raises(Invalid, match="needs a scope"):
        services.create_key(ada, team, "laptop", [])
    assert not ApiKey.objects.exists()


def test_a_stranger_makes_no_key_for_the_team(eve, team):
    with pytest.raises(NotAllowed, match="needs the role viewer in team"):
        services.create_key(eve, team, "mine")


def test_creating_and_revoking_a_key_wakes_the_gateways_and_is_audited_once(ada, team):
    before = events.version(PRINCIPALS)
    key, _text = services.create_key(ada, team, "laptop")
    services.revoke_key(ada, key)
    services.revoke_key(ada, key)
    assert events.version(PRINCIPALS) == before + 2
    verbs = list(AuditEntry.objects.order_by("id").values_list("verb", flat=True))
    assert verbs[-2:] == ["key.create", "key.revoke"]


def test_the_first_admin_is_made_once():
    first, home = services.create_first_admin("admin", "correct horse battery", "Home")
    again, same = services.create_first_admin("other", "another password", "Other")
    assert (again, same) == (first, home)
    assert first.is_superuser
    assert User.objects.count() == Team.objects.count() == Membership.objects.count() == 1
    assert first.check_password("correct horse battery")


@pytest.mark.parametrize(
    ("role", "wanted", "may"),
    [
        (Role.VIEWER, Role.VIEWER, True),
        (Role.VIEWER, Role.OPERATOR, False),
        (Role.OPERATOR, Role.OPERATOR, True),
        (Role.OPERATOR, Role.ADMIN, False),
        (Role.ADMIN, Role.ADMIN, True),
    ],
)
def test_a_role_includes_the_lower_ones(eve, team, role, wanted, may):
    Membership.objects.create(user=eve, team=team, role=role)
    if may:
        services.require(eve, team, wanted)
    else:
        with pytest.raises(NotAllowed):
            services.require(eve, team, wanted)


def test_a_printed_password_keeps_modelyard_to_this_machine_until_somebody_chooses_one(monkeypatch):
    def exposure():
        call_command("exposure")

    monkeypatch.delenv("MODELYARD_ADMIN_PASSWORD", raising=False)
    with pytest.raises(CommandError, match="nobody has chosen"):
        exposure()
    monkeypatch.setenv("MODELYARD_ADMIN_PASSWORD", "chosen by a person")
    exposure()
    monkeypatch.delenv("MODELYARD_ADMIN_PASSWORD")
    admin, _team = services.create_first_admin("admin", "printed on a console", "Home", is_printed=True)
    with pytest.raises(CommandError, match="changepassword admin"):
        exposure()
    admin = User.objects.get(pk=admin.pk)
    admin.set_password("chosen by a person")
    admin.save()
    exposure()
