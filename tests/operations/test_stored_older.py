"""An older installation, of before the control loop, upgraded over every migration since: all of it is looked at."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from tests.operations.stored import looking
from tests.operations.stored.in_place import in_place
from webapp.accounts.models import User
from webapp.catalog.models import Artifact
from webapp.operations import schema
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.states import RunState
from webapp.schedules.timing import Trigger

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def upgraded(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with django_db_blocker.unblock(), in_place(tmp_path_factory.mktemp("stored"), "before_the_loop"):
        call_command("upgrade", "--while-starting", verbosity=0, stdout=io.StringIO())
        yield


@pytest.fixture
def admin(upgraded: None, db: None) -> Client:
    client = Client()
    client.force_login(User.objects.get(username="ada"))
    return client


def test_every_page_opens_and_every_row_answers(admin: Client) -> None:
    seen = [*looking.pages(admin), *looking.rows(admin)]
    assert [each for each in seen if each[1] not in (200, 302)] == []
    assert len(seen) > 80


def test_its_files_have_an_owner_and_nothing_is_left_to_do(admin: Client) -> None:
    assert schema.inspect().is_current
    assert {row.team and row.team.slug for row in Artifact.objects.all()} == {"research"}


def test_what_is_stored_of_schedules_has_the_words_of_today(admin: Client) -> None:
    assert set(Schedule.objects.values_list("trigger", flat=True)) == {Trigger.CRON}
    assert set(ScheduleRun.objects.values_list("state", flat=True)) == {RunState.REJECTED, RunState.WAITING}
