"""Who is told what, once each; signed, retried, and given up at last."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from webapp.control import registry
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.jobs.models import Job
from webapp.schedules import delivering, firing, notifying, retries, targets
from webapp.schedules.lifecycle import NOTIFICATION
from webapp.schedules.models import Notification, Target

pytestmark = pytest.mark.django_db
PAST = datetime(2026, 1, 1, tzinfo=UTC)
ALL = list(notifying.EVENTS)


def test_a_message_is_sent_once_however_often_it_is_delivered(told, receiver, ada, deliver):
    row = targets.test(ada, told[0])
    for _time in range(3):
        deliver(row.pk)
    assert len(receiver.got) == 1


def test_a_receiver_that_fails_is_tried_five_times_then_given_up(told, receiver, ada, deliver):
    receiver.status = 500
    row, waits = targets.test(ada, told[0]), []
    for _time in range(7):
        Notification.objects.filter(pk=row.pk).exclude(next_due_at=None).update(next_due_at=PAST)
        deliver(row.pk)
        row.refresh_from_db()
        if row.next_due_at:
            waits.append(round((row.next_due_at - timezone.now()).total_seconds(), -1))
    assert (len(receiver.got), row.state, row.answer) == (5, "failed", "answered 500")
    assert waits == [30, 120, 600, 3600]


def test_a_try_that_ends_its_worker_waits_as_long_as_one_that_failed(told, receiver, ada, deliver, monkeypatch):
    """Else five of them are over within a minute or two, and the message is given up."""

    class Killed(BaseException):
        pass

    def dies(_row):
        raise Killed

    row = targets.test(ada, told[0])
    with monkeypatch.context() as patch:
        patch.setattr(delivering, "send", dies)
        for wait_s in retries.BACKOFF_S:
            with pytest.raises(Killed):
                deliver(row.pk)
            row.refresh_from_db()
            assert row.next_due_at > timezone.now() + timedelta(seconds=wait_s - 5)
            Notification.objects.update(next_due_at=PAST)
        with pytest.raises(Killed):
            deliver(row.pk)
    Notification.objects.update(next_due_at=PAST)
    deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.answer, receiver.got) == ("failed", "no try was answered", [])


def test_a_redirect_is_not_followed_with_the_message(told, receiver, ada, deliver):
    receiver.status = 302
    row = targets.test(ada, told[0])
    deliver(row.pk)
    row.refresh_from_db()
    assert (len(receiver.got), row.state, row.answer) == (1, "pending", "answered 302")


def test_the_sweep_finds_messages_that_are_due(told, ada, sent_tasks):
    row = targets.test(ada, told[0])
    sent_tasks.clear()
    registry.sweep([NOTIFICATION])
    assert sent_tasks == [("schedules.deliver", row.pk)]


def test_the_end_of_a_run_is_told(told, schedule, go, end_job):
    run = go(firing.begin(schedule, timezone.now()), 2)
    end_job(run.jobs.get(), {"kl_divergence": 9.0})
    go(run)
    row = Notification.objects.get(event="schedule.rejected")
    assert "above the limit" in row.payload["text"]
    assert row.payload["results"][0]["is_passed"] is False


def test_jobs_and_rollouts_that_ended_are_told_once_and_after_a_retry_again(told, host, team, source, deployment):
    from webapp.deployments.models import Revision, Rollout

    job = Job.objects.create(
        kind="fetch", team=team, host=host, artifact=source, state="failed", reason="no", ended_at=timezone.now()
    )
    revision = Revision.objects.create(deployment=deployment, number=1, artifact=source, engine="llamacpp")
    Rollout.objects.create(
        deployment=deployment, number=1, revision=revision, kind="edit", state="failed", reason="crashed",
        ended_at=timezone.now(),
    )  # fmt: skip
    notifying.sweep()
    notifying.sweep()
    assert sorted(Notification.objects.values_list("event", flat=True)) == ["deployment.failed", "job.failed"]
    Job.objects.filter(pk=job.pk).update(attempt=2, ended_at=timezone.now())
    notifying.sweep()
    assert Notification.objects.filter(event="job.failed").count() == 2


def test_old_messages_are_not_read_again_and_go_after_a_while(told, host, team, source):
    target, _secret = told
    old = Notification.objects.bulk_create(
        Notification(target=target, event="job.failed", key=f"job.failed:{number}:1", state="sent")
        for number in range(1_000_000, 1_000_900)
    )
    long_ago = timezone.now() - timedelta(days=200)
    Notification.objects.filter(pk__in=[row.pk for row in old]).update(created_at=long_ago)
    Job.objects.create(kind="fetch", team=team, host=host, artifact=source, state="failed", ended_at=timezone.now())
    notifying.sweep()
    assert Notification.objects.filter(state="pending").count() == 1
    assert notifying.expire() == 900
    notifying.sweep()
    assert Notification.objects.count() == 1


def test_what_ended_before_the_target_was_added_is_not_told(host, team, source, receiver, ada):
    Job.objects.create(kind="fetch", team=team, host=host, artifact=source, state="failed", ended_at=timezone.now())
    targets.add(ada, team, "webhook", receiver.url, ALL)
    notifying.sweep()
    assert not Notification.objects.exists()


def test_a_second_target_is_not_told_what_ended_before_it_came(told, host, team, source, receiver, ada):
    Job.objects.create(kind="fetch", team=team, host=host, artifact=source, state="failed", ended_at=timezone.now())
    targets.add(ada, team, "webhook", f"{receiver.url}/late", ALL)
    notifying.sweep()
    assert Notification.objects.get().target == told[0]


def test_other_teams_hear_nothing(told, host, eve, source):
    Job.objects.create(
        kind="fetch", team=eve.teams.get(), host=host, artifact=source, state="failed", ended_at=timezone.now()
    )
    notifying.sweep()
    assert not Notification.objects.exists()


@pytest.mark.parametrize(
    ("kind", "address", "events", "word"),
    [
        ("webhook", "ftp://example.org", ALL, "https"),
        ("webhook", "http://127.0.0.1/", ALL, "Plain http"),
        ("webhook", "https://127.0.0.1/", ALL, "private address"),
        ("webhook", "https://user:pw@1.1.1.1/", ALL, "password"),
        ("webhook", "https://[::1/", ALL, "https"),
        ("webhook", "https://1.1.1.1/", ["nothing"], "Choose among"),
        ("webhook", "https://1.1.1.1/", [], "Choose among"),
        ("mail", "team@example.org", ALL, "MODELYARD_SMTP_URL"),
        ("pigeon", "home", ALL, "webhook or mail"),
    ],
)
def test_a_place_that_nobody_may_be_told_at_is_refused(ada, team, kind, address, events, word):
    with pytest.raises(Invalid, match=word):
        targets.add(ada, team, kind, address, events)
    assert not Target.objects.exists()


@pytest.mark.parametrize("address", ["nobody", "a@b", "a@b.example\nBcc: c@d.example", "a b@c.example"])
def test_a_mail_address_that_is_none_is_refused(ada, team, monkeypatch, address):
    monkeypatch.setenv("MODELYARD_SMTP_URL", "smtp://mail.example:587")
    with pytest.raises(Invalid, match="email address"):
        targets.add(ada, team, "mail", address, ALL)


def test_targets_are_for_admins_of_the_team(told, bob, eve, receiver, team):
    with pytest.raises(NotAllowed):
        targets.delete(bob, told[0])
    assert Target.objects.exists()
    with pytest.raises(Conflict, match="already has this notification target"):
        targets.add(None, team, "webhook", receiver.url, ALL)


def test_the_page_shows_the_secret_once_and_the_log(receiver, ada, bob, eve, team):
    client = Client()
    client.force_login(ada)
    typed = {"kind": "webhook", "address": receiver.url, "events": ["job.failed"]}
    first = client.post("/schedules/notifications/research/", typed)
    assert "whsec_" in first.content.decode() and "no-store" in first.headers["Cache-Control"]
    target = Target.objects.get()
    assert client.post(f"/schedules/targets/{target.pk}/test/").status_code == 302
    page = client.get("/schedules/notifications/research/").content.decode()
    assert ("whsec_" in page, receiver.url in page, "Test notification from Modelyard" in page) == (False, True, True)
    client.force_login(bob)
    assert receiver.url not in client.get("/schedules/notifications/research/").content.decode()
    client.force_login(eve)
    assert client.get("/schedules/notifications/research/").status_code == 404
    assert client.post(f"/schedules/targets/{target.pk}/delete/").status_code == 404
