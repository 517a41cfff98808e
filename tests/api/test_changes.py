"""The feed of changes: nothing is missed, nothing of others is told."""

from datetime import timedelta

import pytest
from django.utils import timezone

from webapp.foundation.events import services as events
from webapp.foundation.events.models import Topic
from webapp.foundation.events.topics import PRINCIPALS, ROUTES
from webapp.interfaces.api import changes

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask(as_caller, ada):
    client = as_caller(ada)

    def asking(since=None, by=client, **query):
        answer = by.get("/api/v1/changes", query | ({"since": since} if since is not None else {}))
        assert answer.status_code == 200, answer.content
        said = answer.json()
        return [(change["kind"], change["id"]) for change in said["changes"]], said["cursor"]

    return asking


def test_who_asks_for_the_first_time_is_told_from_now_on(ask, deployment):
    events.publish(f"deployment:{deployment.pk}")
    told, cursor = ask()
    assert told == []
    assert ask(cursor) == ([], cursor)
    events.publish(f"deployment:{deployment.pk}", "hosts")
    told, cursor = ask(cursor)
    assert sorted(told) == [("deployment", deployment.pk), ("hosts", None)]
    assert ask(cursor)[0] == []


def test_everything_is_told_to_who_asks_from_the_beginning(ask, deployment, host):
    events.publish(f"deployment:{deployment.pk}", f"deployments:{deployment.team_id}")
    told, _cursor = ask("0")
    assert {("deployment", deployment.pk), ("deployments", deployment.team_id), ("host", host.pk)} <= set(told)


def test_several_changes_of_one_subject_are_told_as_one_with_the_newest_number(as_caller, ada, deployment):
    client = as_caller(ada)
    cursor = client.get("/api/v1/changes").json()["cursor"]
    for _ in range(3):
        events.publish(f"deployment:{deployment.pk}")
    [change] = client.get("/api/v1/changes", {"since": cursor}).json()["changes"]
    assert change["version"] == events.version(f"deployment:{deployment.pk}")


def test_a_change_that_becomes_visible_late_is_told(ask, deployment):
    """A transaction that took its time: stamped before the one that was told already."""
    _told, cursor = ask()
    events.publish("hosts")
    told, cursor = ask(cursor)
    assert told == [("hosts", None)]
    events.publish(f"deployment:{deployment.pk}")
    Topic.objects.filter(name=f"deployment:{deployment.pk}").update(changed_at=timezone.now() - timedelta(seconds=5))
    told, cursor = ask(cursor)
    assert told == [("deployment", deployment.pk)]
    assert ask(cursor)[0] == []


def test_a_stranger_is_told_nothing_of_a_team_and_its_cursor_says_nothing(ask, as_caller, eve, deployment):
    import base64

    stranger = as_caller(eve)
    events.publish(f"deployment:{deployment.pk}", f"deployments:{deployment.team_id}", ROUTES, PRINCIPALS, "hosts")
    told, cursor = ask("0", by=stranger)
    assert set(told) <= {("hosts", None), ("host", 1)} | {pair for pair in told if pair[0] == "host"}
    assert ("deployment", deployment.pk) not in told
    assert b"deployment" not in base64.urlsafe_b64decode(cursor + "===")


def test_a_long_list_comes_in_pieces(ask, make_deployment):
    made = [make_deployment(f"many-{number}") for number in range(12)]
    _told, cursor = ask()
    events.publish(*(f"deployment:{one.pk}" for one in made))
    told = []
    for _ in range(4):
        piece, cursor = ask(cursor, limit=5)
        assert len(piece) <= 5
        told += piece
    assert sorted(told) == sorted(("deployment", one.pk) for one in made)


def test_even_more_changes_at_one_moment_than_a_cursor_holds_come_to_an_end(ask, make_deployment, monkeypatch):
    monkeypatch.setattr(changes, "MOST_TOLD", 3)
    monkeypatch.setattr(changes, "MOST_LOOKED_AT", 4)
    made = [make_deployment(f"many-{number}") for number in range(15)]
    _told, cursor = ask()
    events.publish(*(f"deployment:{one.pk}" for one in made))
    Topic.objects.filter(name__startswith="deployment:").update(changed_at=timezone.now())
    told = []
    for _ in range(8):
        piece, cursor = ask(cursor, limit=5)
        told += piece
    assert {("deployment", one.pk) for one in made} <= set(told)
    # Half a minute later nothing is told again.
    Topic.objects.update(changed_at=timezone.now() - timedelta(seconds=40))
    later = changes.Cursor(timezone.now() - timedelta(seconds=35), {})
    for _ in range(6):
        piece, text = ask(later.text())
        later = changes.Cursor.parse(text)
    assert piece == []


def test_one_kind_may_be_asked_for(ask, deployment):
    _told, cursor = ask(kind="hosts")
    events.publish(f"deployment:{deployment.pk}", "hosts")
    assert ask(cursor, kind="hosts")[0] == [("hosts", None)]


def test_the_cursor_stays_short_however_much_happens(ask, make_deployment, monkeypatch):
    monkeypatch.setattr(changes, "MOST_TOLD", 5)
    made = [make_deployment(f"many-{number}") for number in range(20)]
    _told, cursor = ask()
    events.publish(*(f"deployment:{one.pk}" for one in made))
    told, cursor = ask(cursor)
    assert len(told) == 20
    assert len(cursor) < 400


def test_asking_again_when_nothing_happened_costs_few_queries(
    as_caller, ada, deployment, django_assert_max_num_queries
):
    client = as_caller(ada)
    events.publish(f"deployment:{deployment.pk}")
    cursor = client.get("/api/v1/changes").json()["cursor"]
    with django_assert_max_num_queries(4):
        client.get("/api/v1/changes", {"since": cursor})


@pytest.mark.parametrize(
    "since", ["x", "1", "!", "W10", "WzEsMV0", "WzFlOTk5LHt9LG51bGxd", "WzEse30sW11d", "WzEse30sWy0xLCIiXV0"]
)
def test_what_is_no_cursor_is_refused(as_caller, ada, since):
    answer = as_caller(ada).get("/api/v1/changes", {"since": since})
    assert answer.status_code == 422
    assert "since" in answer.json()["errors"]
