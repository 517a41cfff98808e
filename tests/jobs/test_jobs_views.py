"""Pages of jobs: progress in numbers, cancel, retry, and who may."""

import pytest
from django.urls import reverse
from django.utils import timezone

from webapp.jobs import services
from webapp.jobs.models import Job
from webapp.jobs.states import JobState


@pytest.fixture
def job(ada, team, artifact, host):
    return services.queue_fetch(ada, team, artifact, host, {"source_path": "/srv/models/smollm2.gguf"})


@pytest.fixture
def running(job):
    services.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now() - timezone.timedelta(seconds=10))
    services.record_progress(job.pk, "copy", 50 * 1024**2, 100 * 1024**2, "bytes", speed=5 * 1024**2)
    return job


@pytest.mark.parametrize("person", ["ada", "bob"])
def test_owner_and_teammate_see_how_far_it_is(client, request, running, person):
    client.force_login(request.getfixturevalue(person))
    text = client.get(reverse("jobs:detail", args=[running.pk])).content.decode()
    assert "50.0 MiB of 100.0 MiB · 50 % · 5.0 MiB/s · about 10 s left" in text
    assert "/srv/models/smollm2.gguf" in text


def test_while_the_speed_is_unknown_no_time_is_promised(client, ada, running):
    services.record_progress(
        running.pk, "waiting", 50, 100, "bytes", message="The hub answered 503. Trying again in 4 s."
    )
    client.force_login(ada)
    text = client.get(reverse("jobs:detail", args=[running.pk])).content.decode()
    assert "left" not in text.split("wide-progress")[1].split("</div>")[0]
    assert "Trying again in 4 s." in text


def test_what_succeeded_is_whole_though_its_last_number_came_too_late(client, ada, running):
    services.move(running, JobState.RUNNING, JobState.SUCCEEDED)
    client.force_login(ada)
    text = client.get(reverse("jobs:detail", args=[running.pk])).content.decode()
    assert "copy 100.0 MiB · 100 %" in text
    assert "50 %" not in text


@pytest.mark.parametrize("name", ["detail", "cancel", "retry"])
def test_a_stranger_gets_404(client, eve, running, name):
    client.force_login(eve)
    url = reverse(f"jobs:{name}", args=[running.pk])
    assert (client.get(url) if name == "detail" else client.post(url)).status_code == 404
    running.refresh_from_db()
    assert not running.is_cancel_wanted


def test_a_job_of_no_team_is_for_the_admin_alone(client, ada, root, artifact, host):
    job = services.queue_fetch(None, None, artifact, host, {})
    client.force_login(ada)
    assert client.get(reverse("jobs:detail", args=[job.pk])).status_code == 404
    client.force_login(root)
    assert client.get(reverse("jobs:detail", args=[job.pk])).status_code == 200


def test_a_teammate_cancels_it(client, bob, running):
    client.force_login(bob)
    reply = client.post(reverse("jobs:cancel", args=[running.pk]), headers={"HX-Request": "true"})
    assert "cancelling" in reply.content.decode()
    running.refresh_from_db()
    assert running.is_cancel_wanted


def test_a_job_that_has_ended_says_so_when_it_is_cancelled(client, ada, running):
    services.move(running, JobState.RUNNING, JobState.SUCCEEDED)
    client.force_login(ada)
    reply = client.post(reverse("jobs:cancel", args=[running.pk]), follow=True)
    assert "The job has already finished." in reply.content.decode()


def test_a_failed_job_gives_its_reason_and_is_tried_again(client, ada, running):
    services.move(running, JobState.RUNNING, JobState.FAILED, "The disk is full.", advice="Free some space.")
    client.force_login(ada)
    text = client.get(reverse("jobs:detail", args=[running.pk])).content.decode()
    assert "The disk is full." in text
    assert "Free some space." in text
    client.post(reverse("jobs:retry", args=[running.pk]))
    running.refresh_from_db()
    assert (running.state, running.attempt) == ("queued", 2)


def test_the_list_costs_the_same_queries_for_two_and_for_fifty(client, ada, team, artifact, host, count_queries):
    client.force_login(ada)
    url = reverse("jobs:index")

    def make(number):
        Job.objects.bulk_create(
            Job(kind="fetch", team=team, requested_by=ada, host=host, artifact=artifact) for _ in range(number)
        )

    make(2)
    few = count_queries(client, url)
    make(50)
    assert count_queries(client, url) == few


def test_an_empty_list_says_what_makes_a_job(client, ada):
    client.force_login(ada)
    assert "Import local files" in client.get(reverse("jobs:index")).content.decode()


@pytest.mark.parametrize(
    ("kind", "source", "title"),
    [
        ("fetch", "hub", "Download"),
        ("fetch", "path", "Import"),
        ("delete_copy", "path", "Delete files"),
        ("quantise", "path", "Quantise"),
    ],
)
def test_a_job_is_called_by_what_it_does_for_people(client, ada, team, artifact, host, kind, source, title):
    artifact.source = {**artifact.source, "kind": source}
    artifact.save(update_fields=["source"])
    job = Job.objects.create(kind=kind, team=team, host=host, artifact=artifact)
    client.force_login(ada)
    for page in (reverse("jobs:index"), reverse("jobs:detail", args=[job.pk])):
        assert f"{title} #{job.pk}" in client.get(page).content.decode()
