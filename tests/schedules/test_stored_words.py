"""Rows that an older Modelyard wrote, in the words of today."""

from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from webapp.schedules.models import Notification, Target

pytestmark = pytest.mark.django_db
say_it = import_module("webapp.schedules.migrations.0005_standard_terms").say_it


def test_who_wanted_to_hear_of_refused_results_hears_of_rejected_ones_and_of_none_twice(team):
    target = Target.objects.create(
        team=team, kind="mail", address="ada@example.org", events=["job.failed", "schedule.refused"]
    )
    told = Notification.objects.create(
        target=target, event="schedule.refused", key="schedule.refused:run:7", payload={"event": "schedule.refused"},
        next_due_at=timezone.now(),
    )  # fmt: skip
    say_it(apps, None)
    target.refresh_from_db()
    told.refresh_from_db()
    assert target.events == ["job.failed", "schedule.rejected"]
    assert (told.event, told.key, told.payload) == (
        "schedule.rejected", "schedule.rejected:run:7", {"event": "schedule.rejected"},
    )  # fmt: skip
