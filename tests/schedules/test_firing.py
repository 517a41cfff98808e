"""Schedules fire once, however many look, and once late when they were missed."""

import contextlib
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from webapp.schedules import firing, services
from webapp.schedules.models import Schedule, ScheduleRun

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.django_db
def test_a_schedule_that_missed_many_nights_runs_once_and_late(overdue):
    firing.sweep()
    firing.sweep()
    run = ScheduleRun.objects.get()
    overdue.refresh_from_db()
    assert run.due_at == PAST
    assert timezone.now() < overdue.next_due_at <= timezone.now() + timedelta(days=1)


@pytest.mark.django_db
def test_who_saw_the_same_due_time_second_fires_nothing(overdue):
    same = Schedule.objects.get(pk=overdue.pk)
    assert firing.fire(overdue) is not None
    assert firing.fire(same) is None
    assert ScheduleRun.objects.count() == 1


@pytest.mark.django_db
def test_a_paused_schedule_does_not_fire(overdue, ada):
    Schedule.objects.filter(pk=overdue.pk).update(is_paused=True)
    firing.sweep()
    assert firing.fire(overdue) is None
    assert not ScheduleRun.objects.exists()


@pytest.mark.django_db
def test_a_time_that_comes_while_it_runs_is_one_run_after_that(schedule, ada):
    first = services.run_now(ada, schedule)
    Schedule.objects.filter(pk=schedule.pk).update(next_due_at=PAST)
    schedule.refresh_from_db()
    firing.sweep()
    # Even whoever looked before the run began gives the time back.
    assert firing.fire(schedule) is None
    schedule.refresh_from_db()
    assert schedule.next_due_at == PAST
    services.cancel(ada, first)
    from workers import controllers

    controllers.work(firing.ADVANCE, first.pk)
    firing.sweep()
    assert ScheduleRun.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_eight_schedulers_at_once_fire_every_schedule_once(make_schedule):
    for number in range(5):
        make_schedule(name=f"schedule {number}")
    Schedule.objects.update(next_due_at=PAST)
    together, problems = threading.Barrier(8), []

    def scheduler() -> None:
        try:
            together.wait()
            firing.sweep()
        except Exception as error:
            problems.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=scheduler) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems, f"{connection.vendor}: {problems}"
    assert ScheduleRun.objects.count() == 5
    assert set(ScheduleRun.objects.values_list("schedule__name", flat=True)) == {f"schedule {n}" for n in range(5)}


@pytest.fixture
def hub_says(monkeypatch):
    """What the hub answers for the commit, or raises."""
    from webapp.catalog import hubs

    def say(answer):
        def repo(hub, name, revision=""):
            if isinstance(answer, Exception):
                raise answer
            return hubs.Repo(name, answer, revision or "main", (), "", False, "")

        monkeypatch.setattr(hubs, "repo", repo)

    return say


@pytest.fixture
def looking(make_schedule, db):
    from webapp.catalog.models import Hub

    hub = Hub.objects.create(name="Hub", endpoint="https://hub.example")
    made = make_schedule(artifact=None, hub=hub, repo="a/b", variant="x.gguf", trigger="new_commit")

    def due():
        Schedule.objects.filter(pk=made.pk).update(next_due_at=PAST)
        return made.pk

    return due


def test_a_new_commit_fires_and_the_same_one_does_not(looking, hub_says, sent_tasks):
    hub_says("c1")
    pk = looking()
    firing.sweep()
    assert ("schedules.look", pk) in sent_tasks
    assert firing.look(pk) is not None
    ScheduleRun.objects.update(state="succeeded")
    assert firing.look(looking()) is None
    hub_says("c2")
    assert firing.look(looking()) is not None


def test_a_hub_that_is_away_is_a_note_and_no_failed_run(looking, hub_says):
    from webapp.foundation.errors import Unavailable

    hub_says(Unavailable("Hub cannot be reached."))
    pk = looking()
    assert firing.look(pk) is None
    row = Schedule.objects.get(pk=pk)
    assert "cannot be reached" in row.note
    assert row.next_due_at > timezone.now()
    assert not ScheduleRun.objects.exists()
    hub_says(row.seen_commit)
    firing.look(looking())
    assert Schedule.objects.get(pk=pk).note == ""


@pytest.mark.django_db
def test_a_schedule_that_cannot_be_read_keeps_nothing_else_from_the_sweep(
    overdue, make_schedule, deployment, sent_tasks
):
    """A time zone that this machine's tables no longer know, after a restore or an upgrade."""
    from workers.controllers import sweeping

    Schedule.objects.filter(pk=overdue.pk).update(zone="Mars/Phobos")
    other = make_schedule(name="other")
    Schedule.objects.filter(pk=other.pk).update(next_due_at=PAST + timedelta(days=1))
    deployment.replicas.update(next_due_at=PAST)
    sent_tasks.clear()
    with contextlib.suppress(Exception):
        sweeping.sweep()
    assert ("deployments.reconcile", deployment.replicas.get().pk) in sent_tasks
    assert ScheduleRun.objects.get().schedule == other


@pytest.mark.django_db
def test_what_breaks_in_one_part_of_a_sweep_is_raised_after_the_others(deployment, sent_tasks, monkeypatch):
    from workers.controllers import sweeping

    deployment.replicas.update(next_due_at=PAST)
    sent_tasks.clear()
    monkeypatch.setattr(firing.Schedule.objects, "due", None)
    with pytest.raises(ExceptionGroup):
        sweeping.sweep()
    assert ("deployments.reconcile", deployment.replicas.get().pk) in sent_tasks
