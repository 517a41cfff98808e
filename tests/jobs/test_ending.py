"""The record of a job has an end, so that a team that ever ran one can be deleted."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from webapp.accounts import teams
from webapp.accounts.models import AuditEntry, Team
from webapp.catalog.models import Artifact
from webapp.foundation.errors import Conflict, NotAllowed
from webapp.jobs import ending, services
from webapp.jobs.decide import Forget, LetGo, Observed, View, Wait, decide
from webapp.jobs.models import Job, JobLogChunk
from webapp.jobs.states import JobState

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(team, host, artifact, bob):
    """A fetch that has failed, with its log."""
    job = Job.objects.create(
        kind="fetch", team=team, host=host, artifact=artifact, requested_by=bob, state="failed", ended_at=timezone.now()
    )
    JobLogChunk.objects.create(job=job, attempt=1, step=1, offset=0, text="a line\n", until="")
    return job


def test_its_record_goes_with_its_log_and_what_it_made_stays(job, bob, artifact, team):
    Artifact.objects.update(made_by=job)
    ending.delete(bob, job)
    assert not Job.objects.exists() and not JobLogChunk.objects.exists()
    artifact.refresh_from_db()
    assert artifact.made_by is None
    entry = AuditEntry.objects.get(verb="job.delete")
    assert (entry.team, entry.detail["about"]) == (team, str(artifact))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_one_that_has_not_ended_is_cancelled_first(job, bob, state):
    Job.objects.update(state=state)
    with pytest.raises(Conflict, match="has not ended"):
        ending.delete(bob, job)
    assert ending.delete_ended(bob, job.team) == 0
    assert Job.objects.exists()


def test_strangers_and_viewers_delete_none(job, eve, team, bob):
    team.memberships.filter(user=bob).update(role="viewer")
    for person in (eve, bob):
        with pytest.raises(NotAllowed):
            ending.delete(person, job)
        with pytest.raises(NotAllowed):
            ending.delete_ended(person, team)


def test_files_that_it_left_on_its_host_go_before_its_record(job, bob, sent_tasks, django_capture_on_commit_callbacks):
    Job.objects.update(result={"work_kept": True})
    with django_capture_on_commit_callbacks(execute=True):
        ending.delete(bob, job)
    job.refresh_from_db()
    assert job.is_leaving and ("jobs.reconcile", job.pk) in sent_tasks
    with pytest.raises(Conflict, match="being deleted"):
        services.retry(bob, job)


@pytest.mark.parametrize(("is_leaving", "expected"), [(True, LetGo), (False, Wait)])
def test_finished_steps_wait_for_another_try_unless_the_record_is_to_go(is_leaving, expected):
    now = timezone.now()
    view = View(JobState.FAILED, ended_at=now, keeps_work=True, is_leaving=is_leaving)
    assert isinstance(decide(view, Observed(), now), expected)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_record_that_is_to_go_goes_when_somebody_else_took_its_files_away(state):
    now = timezone.now()
    assert decide(View(state, ended_at=now, is_leaving=True), Observed(), now) == Forget()


def test_one_that_succeeded_behind_an_attempt_that_kept_its_work_goes_at_once(job, bob):
    Job.objects.update(state="succeeded", result={"work_kept": True, "artifact": 1})
    ending.delete(bob, job)
    assert not Job.objects.exists()
    now = timezone.now()
    view = View(JobState.SUCCEEDED, ended_at=now, keeps_work=True, is_leaving=True)
    assert decide(view, Observed(), now) == Forget()


def test_a_team_whose_jobs_have_been_deleted_can_be_deleted(root, host):
    lab = Team.objects.create(name="Lab", slug="lab")
    for state in ("succeeded", "failed", "cancelled"):
        Job.objects.create(kind="fetch", team=lab, host=host, state=state)
    with pytest.raises(Conflict, match="3 jobs"):
        teams.delete_team(root, lab)
    assert ending.delete_ended(root, lab) == 3
    teams.delete_team(root, lab)
    assert AuditEntry.objects.get(verb="job.delete_ended").detail == {"jobs": 3}


def test_old_records_go_by_themselves_and_that_is_written_down(job, monkeypatch):
    now = timezone.now() + timedelta(days=ending.RECORDS_KEPT_DAYS - 1)
    assert ending.expire(now) == 0
    monkeypatch.setattr(ending, "RECORDS_KEPT_DAYS", 0)
    assert ending.expire(now + timedelta(days=9999)) == 0
    monkeypatch.undo()
    assert ending.expire(now + timedelta(days=2)) == 1
    assert not Job.objects.exists()
    assert AuditEntry.objects.get(verb="job.expire").detail["removed"] == 1


def test_page_and_api_delete_one_and_all_of_a_team(client, job, ada, eve, team, host):
    client.force_login(eve)
    assert client.post(reverse("jobs:delete", args=[job.pk])).status_code == 404
    assert client.delete(f"/api/v1/jobs/{job.pk}").status_code == 404
    client.force_login(ada)
    assert reverse("jobs:delete", args=[job.pk]) in client.get(reverse("jobs:detail", args=[job.pk])).content.decode()
    assert client.post(reverse("jobs:delete", args=[job.pk])).status_code == 302
    for ask in (
        lambda: client.post("/api/v1/jobs/delete-ended", {"team": team.slug}, content_type="application/json"),
        lambda: client.post(reverse("jobs:delete_ended"), {"team": team.pk}),
    ):
        Job.objects.create(kind="fetch", team=team, host=host, state="failed")
        assert ask().status_code in (200, 302)
        assert not Job.objects.exists()
    kept = Job.objects.create(kind="fetch", team=team, host=host, state="failed")
    assert client.delete(f"/api/v1/jobs/{kept.pk}").status_code == 204
    assert not Job.objects.exists()
