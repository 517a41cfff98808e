"""Every kind of job has both of its halves, and what its end means is carried out."""

import pytest

from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.foundation.errors import Conflict, NotAllowed
from webapp.jobs import deleting, fetching, kinds, services
from webapp.jobs.models import Job, JobKind
from webapp.jobs.states import JobState
from workers.controllers.job import kinds as job_kinds
from workers.controllers.job.endings import read_ending

pytestmark = pytest.mark.django_db


def test_each_kind_is_known_to_both_sides():
    assert kinds.registered() == set(job_kinds.KINDS) == {kind.value for kind in JobKind}
    assert all(kind.steps for kind in job_kinds.KINDS.values())


@pytest.fixture
def deletion(ada, team, artifact):
    return deleting.delete_copy(ada, team, artifact.copies.get())


def test_a_copy_on_its_way_out_is_neither_placed_nor_fetched(deletion, artifact, ada, team, host):
    assert ArtifactCopy.objects.get().state == CopyState.DELETING
    assert not Artifact.objects.deployable().exists()
    artifact.source = {"kind": "url", "url": "https://example.org/m.gguf"}
    with pytest.raises(Conflict, match="being deleted"):
        fetching.to_host(ada, team, artifact, host)
    with pytest.raises(Conflict, match="fetched or deleted"):
        deleting.delete_copy(ada, team, artifact.copies.get())


def test_a_deletion_that_failed_leaves_a_copy_that_nobody_deploys(deletion):
    kinds.of(deletion).fail(deletion)
    assert ArtifactCopy.objects.get().state == CopyState.FAILED
    services.move(deletion, JobState.QUEUED, JobState.FAILED, "no disk")
    services.retry(None, deletion)
    assert ArtifactCopy.objects.get().state == CopyState.DELETING


def test_one_copys_end_leaves_the_artifact(deletion, artifact):
    kinds.of(deletion).finish(deletion, {"freed_bytes": 1})
    assert Artifact.objects.get() == artifact and not artifact.copies.exists()


def test_an_artifact_goes_with_its_last_copy_and_its_jobs_stay(ada, team, artifact):
    (job,) = deleting.delete_artifact(ada, team, artifact)
    kinds.of(job).finish(job, {"freed_bytes": 1})
    assert not Artifact.objects.exists() and not CatalogModel.objects.exists()
    assert Job.objects.get().about == "SmolLM2 135M Instruct Q8_0"


def test_an_artifact_that_is_on_its_way_is_not_deleted(ada, team, artifact):
    ArtifactCopy.objects.update(state=CopyState.FETCHING)
    with pytest.raises(Conflict):
        deleting.delete_artifact(ada, team, artifact)
    artifact.refresh_from_db()
    assert not artifact.is_leaving


def test_a_copy_that_another_host_has_too_may_go_though_its_model_is_deployed(ada, team, deployment, host):
    from webapp.inventory.models import Host

    artifact = deployment.artifact
    other = Host.objects.create(name="other", endpoint="unix:///other.sock")
    spare = ArtifactCopy.objects.create(artifact=artifact, host=other, state=CopyState.PRESENT)
    assert deleting.delete_copy(ada, team, spare).host == other


def test_strangers_and_viewers_delete_nothing(bob, eve, team, artifact):
    bob.memberships.update(role="viewer")
    for person in (bob, eve):
        with pytest.raises(NotAllowed):
            deleting.delete_artifact(person, team, artifact)


@pytest.mark.parametrize(
    ("log", "reached", "keeps"),
    [
        ('{"step": "copy", "done": 5}\nTraceback', 5, False),
        ('{"step": "copy", "done": 5}\n{"step": "verify", "done": 9}', 5, False),
        ('{"error": {"code": "disk_full", "message": "m", "advice": "a", "keeps": true}}', 0, True),
        ("[]\n7\nnull", 0, False),
    ],
)
def test_the_last_lines_tell_how_far_it_came_and_what_is_worth_keeping(log, reached, keeps):
    ending = read_ending(log)
    assert (ending.reached, ending.keeps) == (reached, keeps)
