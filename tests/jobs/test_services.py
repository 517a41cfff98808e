"""Jobs: one writer, one table of moves."""

import itertools

import pytest

from tests.catalog.gguf_file import write_gguf
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.control import lease
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.inventory.models import Host
from webapp.jobs import fetching, services
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.states import ENDED, MOVES, JobState

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(ada, team, host, import_dir):
    return fetching.import_file(ada, team, host, str(write_gguf(import_dir / "tiny.gguf")))


def test_an_import_is_a_job_that_wakes_a_worker(
    ada, team, host, import_dir, sent_tasks, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        job = fetching.import_file(ada, team, host, str(write_gguf(import_dir / "tiny.gguf")), None, "My Tiny")
    assert sent_tasks == [("jobs.reconcile", job.pk)]
    assert (job.state, str(job.artifact.catalog_model)) == (JobState.QUEUED, "My Tiny")
    assert ArtifactCopy.objects.get().state == CopyState.FETCHING


def test_importing_twice_finds_the_running_job(ada, team, host, import_dir, job):
    assert fetching.import_file(ada, team, host, str(import_dir / "tiny.gguf")) == job


def test_what_is_there_is_not_fetched_again(ada, team, host, import_dir, job):
    size = (import_dir / "tiny.gguf").stat().st_size
    fetching.finish(job, {"files": [{"name": "tiny.gguf", "size": size, "sha256": "0" * 64}]})
    with pytest.raises(Conflict, match="is on local already"):
        fetching.import_file(ada, team, host, str(import_dir / "tiny.gguf"))


def test_a_file_too_big_for_the_disk_is_refused_before_anything_is_queued(ada, team, host, import_dir):
    Host.objects.filter(pk=host.pk).update(disk_free_bytes=10)
    host.refresh_from_db()
    with pytest.raises(Invalid, match="10 free"):
        fetching.import_file(ada, team, host, str(write_gguf(import_dir / "tiny.gguf")))
    assert not Job.objects.exists() and not Artifact.objects.exists()


def test_a_viewer_and_a_stranger_import_nothing(bob, eve, team, host, import_dir):
    bob.memberships.update(role="viewer")
    path = str(write_gguf(import_dir / "tiny.gguf"))
    for person in (bob, eve):
        with pytest.raises(NotAllowed):
            fetching.import_file(person, team, host, path)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobState, JobState)))
def test_every_move_is_as_the_table_says(job, old, new):
    Job.objects.filter(pk=job.pk).update(state=old)
    job.refresh_from_db()
    if new in MOVES[old]:
        assert services.move(job, old, new, "because")
        assert JobEvent.objects.filter(job=job, old_state=old, new_state=new).count() == 1
        assert (job.state, job.ended_at is not None) == (new, new in ENDED)
    else:
        with pytest.raises(Conflict):
            services.move(job, old, new)
        assert Job.objects.get(pk=job.pk).state == old


def test_the_slower_of_two_workers_is_told_that_it_lost(job):
    first = services.JOB.claim(job.pk)
    assert services.JOB.claim(job.pk) is None
    assert services.move(first, JobState.QUEUED, JobState.RUNNING)
    assert not services.move(job, JobState.QUEUED, JobState.RUNNING)
    lease.release(first, None)
    assert services.JOB.claim(job.pk).epoch == first.epoch + 1


def test_a_request_that_comes_while_a_worker_holds_the_job_is_not_forgotten(ada, job):
    held = services.JOB.claim(job.pk)
    services.cancel(ada, job)
    lease.release(held, None)
    assert Job.objects.due().get() == job


def test_cancelling_is_a_request_and_what_has_ended_cannot_be_cancelled(ada, job):
    services.cancel(ada, job)
    job.refresh_from_db()
    assert job.is_cancel_wanted and job.state == JobState.QUEUED
    services.move(job, JobState.QUEUED, JobState.CANCELLED)
    with pytest.raises(Conflict, match="has already finished"):
        services.cancel(ada, job)


def test_a_cancelled_job_can_be_tried_again_as_its_next_attempt(ada, job):
    services.move(job, JobState.QUEUED, JobState.CANCELLED)
    services.retry(ada, job)
    assert (job.state, job.attempt, job.is_cancel_wanted) == (JobState.QUEUED, 2, False)
    assert Job.objects.due().get() == job
