"""A job on a host that never returns has an end: an admin of the installation gives it up."""

import pytest
from django.urls import reverse
from django.utils import timezone

from webapp.accounts import teams
from webapp.accounts.models import AuditEntry, Team
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.foundation.errors import Conflict, NotAllowed
from webapp.inventory import services as inventory
from webapp.jobs import deleting, ending
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def away(host):
    """The host, which does not answer."""
    inventory.record_lost(host.pk, "connection refused")
    host.refresh_from_db()
    return host


@pytest.fixture
def running(team, host, artifact, bob):
    return Job.objects.create(
        kind="fetch", team=team, host=host, artifact=artifact, requested_by=bob, state="running", is_cancel_wanted=True,
        container_id="c0ffee", result={"work_kept": True}, next_due_at=timezone.now(),
    )  # fmt: skip


def test_it_has_failed_then_and_nothing_is_waited_for(running, away, root, team):
    inventory.reserve(running.reservation_owner, away.pk, 1000)
    ArtifactCopy.objects.update(state=CopyState.FETCHING)
    ending.give_up(root, running)
    running.refresh_from_db()
    assert (running.state, running.next_due_at, running.container_id) == ("failed", None, "")
    assert running.reason == f"Given up by root: {away.name} does not answer."
    assert ArtifactCopy.objects.get().state == CopyState.FAILED
    entry = AuditEntry.objects.get(verb="job.give_up")
    assert (entry.team, entry.detail["host"]) == (team, away.name)
    # Nothing is looked for on that host any more: the record goes at once.
    ending.delete(root, running)
    assert not Job.objects.exists()


def test_memory_that_it_held_is_free_again(away, root, team, artifact):
    work = Job.objects.create(kind="quantise", team=team, host=away, artifact=artifact, state="running")
    inventory.reserve(work.reservation_owner, away.pk, 1000)
    ending.give_up(root, work)
    away.refresh_from_db()
    assert away.reserved_bytes == 0


def test_a_record_that_waits_for_its_host_to_be_cleaned_goes(running, away, root):
    Job.objects.update(state="failed", ended_at=timezone.now(), is_leaving=True)
    ending.give_up(root, running)
    assert not Job.objects.exists()


def test_files_whose_deletion_is_given_up_are_taken_for_gone(artifact, host, ada, team, root):
    [job] = deleting.delete_artifact(ada, team, artifact)
    inventory.record_lost(host.pk, "connection refused")
    ending.give_up(root, Job.objects.get(pk=job.pk))
    assert not ArtifactCopy.objects.exists() and not Artifact.objects.exists()
    assert Job.objects.get().state == "failed"


def test_a_team_with_everything_on_that_host_can_be_deleted(running, away, root, ada, team, artifact):
    ending.give_up(root, running)
    [job] = deleting.delete_artifact(ada, team, artifact)
    ending.give_up(root, Job.objects.get(pk=job.pk))
    ending.delete_ended(root, team)
    teams.delete_team(root, team)
    assert not Team.objects.filter(pk=team.pk).exists()


def test_one_whose_host_answers_is_cancelled_instead(running, root):
    with pytest.raises(Conflict, match="answers") as refused:
        ending.give_up(root, running)
    assert "Cancel it" in refused.value.advice


def test_one_that_has_ended_and_left_nothing_is_only_deleted(running, away, root):
    Job.objects.update(state="failed", ended_at=timezone.now(), result={})
    with pytest.raises(Conflict, match="has ended"):
        ending.give_up(root, running)


def test_only_an_admin_of_the_installation_may(running, away, ada, eve):
    for person in (ada, eve):
        with pytest.raises(NotAllowed):
            ending.give_up(person, running)


def test_page_and_api_do_it(client, running, away, ada, root):
    page, verb = reverse("jobs:detail", args=[running.pk]), reverse("jobs:give_up", args=[running.pk])
    client.force_login(ada)
    assert verb not in client.get(page).content.decode()
    assert client.post(f"/api/v1/jobs/{running.pk}/give-up").status_code == 403
    client.force_login(root)
    assert verb in client.get(page).content.decode()
    client.post(verb)
    assert Job.objects.get().state == "failed"
    assert verb not in client.get(page).content.decode()
    Job.objects.update(is_leaving=True, result={"work_left": True})
    assert client.post(f"/api/v1/jobs/{running.pk}/give-up").status_code == 204
    assert not Job.objects.exists()
