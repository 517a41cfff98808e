"""What a Docker engine refuses: told at last, but not believed at once."""

import pytest

from webapp.jobs import services
from webapp.jobs.decide import Start
from webapp.jobs.states import JobState
from workers.controllers.job import act
from workers.runtime.base import StartRefused

pytestmark = pytest.mark.django_db
DYING = "OCI runtime create failed: transport is closing"


class Refusing:
    """An engine that makes containers and starts none."""

    def __init__(self, words):
        self.words, self.removed = words, []

    def start(self, container_id, line=None):
        raise StartRefused(self.words)

    def remove(self, container_id):
        self.removed.append(container_id)


@pytest.fixture
def job(ada, team, artifact):
    from webapp.jobs import deleting

    return deleting.delete_copy(ada, team, artifact.copies.get())


def start(job, words):
    return act._start(Refusing(words), job, Start("abc"))


def test_a_refused_start_is_tried_again_after_a_pause_and_then_told(job):
    assert [start(job, DYING), start(job, DYING)] == [act.LOOK_AGAIN_S] * 2
    assert (job.attempt, job.state) == (3, JobState.QUEUED)
    start(job, DYING)
    fresh = services.JOB.reread(job)
    assert (fresh.state, fresh.advice) == (JobState.FAILED, "Check Docker on the host.")
    assert fresh.reason == f"Docker did not start the container: {DYING}. It was tried 3 times."


def test_a_full_disk_is_told_at_once(job):
    start(job, "mkdir /var/lib/docker/overlay2/x: no space left on device")
    assert services.JOB.reread(job).reason.startswith("The disk of ")
