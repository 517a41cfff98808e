"""Files that a deployment runs, comes from or goes back to are not deleted, and the refusal says which it is."""

from typing import Any

import pytest

from webapp.accounts import ownership
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.deployments import lifecycle, services, using
from webapp.deployments.models import Deployment, Replica, Rollout
from webapp.deployments.states import RolloutState
from webapp.foundation.errors import Conflict, Invalid
from webapp.inventory.models import Host
from webapp.jobs import deleting, fetching
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db


def sibling(artifact: Any, host: Any, main_file: str = "q4.gguf", **columns: Any) -> Any:
    other = Artifact.objects.create(
        team=artifact.team,
        catalog_model=artifact.catalog_model,
        format="gguf",
        quantisation="Q4_0",
        main_file=main_file,
        **columns,
    )
    ArtifactCopy.objects.create(artifact=other, host=host, state=CopyState.PRESENT)
    return other


@pytest.fixture
def served(artifact: Any, ada: Any, team: Any) -> Any:
    """A deployment whose first rollout has come to its end."""
    made = services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact))
    Rollout.objects.update(state=RolloutState.DONE)
    Replica.objects.update(state="ready")
    return Deployment.objects.get(pk=made.pk)


def refusal(user: Any, team: Any, artifact: Any) -> str:
    with pytest.raises(Conflict) as refused:
        deleting.delete_artifact(user, team, artifact)
    assert not Job.objects.filter(kind="delete_copy").exists()
    assert not Artifact.objects.get(pk=artifact.pk).is_leaving
    return str(refused.value)


def test_what_is_served_stays_and_so_does_what_a_stopped_deployment_would_serve(
    served: Any, ada: Any, team: Any, artifact: Any
) -> None:
    assert "chat serves it" in refusal(ada, team, artifact)
    services.stop(ada, served)
    assert "chat would serve it when it is started" in refusal(ada, team, artifact)
    services.delete(ada, served)
    assert "chat is being deleted and has not stopped yet" in refusal(ada, team, artifact)


def test_during_a_rollout_both_the_new_files_and_those_it_would_go_back_to_stay(
    served: Any, ada: Any, team: Any, artifact: Any, host: Any
) -> None:
    newer = sibling(artifact, host)
    services.edit(ada, served, services.DeploymentPatch({"artifact": newer}))
    assert "chat serves it" in refusal(ada, team, newer)
    assert "chat still runs it in replica #1" in refusal(ada, team, artifact)
    Replica.objects.filter(number=1).update(state="stopped")
    assert "chat goes back to it, as revision 1, if its change fails" in refusal(ada, team, artifact)
    with pytest.raises(Conflict, match="goes back to it"):
        deleting.delete_copy(ada, team, artifact.copies.get())
    Rollout.objects.filter(state="running").update(state=RolloutState.DONE)
    assert deleting.delete_artifact(ada, team, artifact), "a change that has come to its end needs its past no more"


def test_a_rollout_of_another_deployment_keeps_nothing(
    served: Any, ada: Any, team: Any, artifact: Any, host: Any
) -> None:
    newer, newest = sibling(artifact, host), sibling(artifact, host, "q2.gguf")
    services.edit(ada, served, services.DeploymentPatch({"artifact": newer}))
    Rollout.objects.update(state=RolloutState.DONE)
    Replica.objects.update(state="stopped")
    services.edit(ada, Deployment.objects.get(), services.DeploymentPatch({"artifact": newest}))
    assert [use.why for use in using.uses(newer.pk)] == ["goes back to it, as revision 2, if its change fails"]
    assert using.uses(artifact.pk) == [], "only the last good one is gone back to"


def test_the_copy_on_the_host_that_a_stopped_deployment_is_pinned_to_stays(
    served: Any, ada: Any, team: Any, artifact: Any, host: Any
) -> None:
    other = Host.objects.create(name="other", endpoint="unix:///other.sock")
    ArtifactCopy.objects.create(artifact=artifact, host=other, state=CopyState.PRESENT)
    services.stop(ada, served)
    Replica.objects.update(state="stopped")
    Deployment.objects.update(host=host)
    with pytest.raises(Conflict, match="chat would serve it"):
        deleting.delete_copy(ada, team, artifact.copies.get(host=host))
    assert deleting.delete_copy(ada, team, artifact.copies.get(host=other))


def test_the_owner_is_told_what_of_which_team_uses_it(ada: Any, team: Any, eve: Any, artifact: Any) -> None:
    services.create(eve, eve.teams.get(), services.DeploymentSpec("evening", artifact=artifact))
    with pytest.raises(Conflict, match="evening of team Strangers serves it") as refused:
        deleting.delete_artifact(ada, team, artifact)
    # What nobody of one's own team can delete or move is not advised.
    assert refused.value.advice.startswith("Only team Strangers can stop, move or delete what runs")


@pytest.fixture
def resting(eve: Any, artifact: Any) -> Any:
    """A deployment of strangers, stopped, with files that the team shares with everybody."""
    made = services.create(eve, eve.teams.get(), services.DeploymentSpec("evening", artifact=artifact))
    services.stop(eve, made)
    Replica.objects.update(state="stopped")
    Rollout.objects.update(state=RolloutState.DONE)
    return made


@pytest.mark.parametrize("way", ["shared", "granted"])
def test_what_others_have_stopped_holds_files_only_while_its_team_may_use_them(
    way: str, resting: Any, ada: Any, eve: Any, team: Any, artifact: Any, host: Any
) -> None:
    if way == "granted":
        ownership.grant(ada, artifact, "strangers")
        ownership.unshare(ada, artifact)
    with pytest.raises(Conflict, match="evening of team Strangers would serve it when it is started") as refused:
        deleting.delete_artifact(ada, team, artifact)
    assert "Stop sharing it with team Strangers" in refused.value.advice
    if way == "granted":
        ownership.withdraw(ada, artifact, eve.teams.get())
    else:
        ownership.unshare(ada, artifact)
    Replica.objects.update(state="stopping")
    with pytest.raises(Conflict, match="evening of team Strangers"):
        deleting.delete_artifact(ada, team, artifact)
    Replica.objects.update(state="stopped")
    [job] = deleting.delete_artifact(ada, team, artifact)
    deleting.finish(job, {})
    # Its name stays where it is spoken of, and nothing starts with it.
    assert Deployment.objects.get().artifact == artifact
    with pytest.raises(Conflict, match="not shared with team Strangers"):
        services.start(eve, resting)
    ownership.grant(ada, artifact, "strangers")
    with pytest.raises(Conflict, match="being deleted"):
        services.start(eve, resting)


@pytest.mark.parametrize("end", ["deleted", "moved"])
def test_files_that_are_gone_are_forgotten_with_the_last_that_speaks_of_them(
    end: str, resting: Any, ada: Any, eve: Any, team: Any, artifact: Any, host: Any
) -> None:
    other = sibling(artifact, host, is_shared=True)
    ownership.unshare(ada, artifact)
    [job] = deleting.delete_artifact(ada, team, artifact)
    deleting.finish(job, {})
    assert Artifact.objects.get(pk=artifact.pk).is_leaving
    if end == "deleted":
        services.delete(eve, resting)
        assert lifecycle.finish_delete(resting.pk)
    else:
        services.edit(eve, resting, services.DeploymentPatch({"artifact": other}))
    assert list(Artifact.objects.all()) == [other]


def test_a_way_back_to_other_files_forgets_those_that_are_gone_too(
    ada: Any, eve: Any, team: Any, artifact: Any, host: Any
) -> None:
    other = sibling(artifact, host, is_shared=True)
    made = services.create(eve, eve.teams.get(), services.DeploymentSpec("evening", artifact=other))
    Rollout.objects.update(state=RolloutState.DONE)
    services.edit(eve, made, services.DeploymentPatch({"artifact": artifact}))
    services.stop(eve, made)
    Replica.objects.update(state="stopped")
    Rollout.objects.update(state=RolloutState.DONE)
    ownership.unshare(ada, artifact)
    [job] = deleting.delete_artifact(ada, team, artifact)
    deleting.finish(job, {})
    services.roll_back(eve, made, 1)
    assert list(Artifact.objects.all()) == [other]


def test_files_that_somebody_began_to_delete_a_moment_ago_are_not_fetched_to_another_host(
    ada: Any, team: Any, artifact: Any, host: Any
) -> None:
    artifact.source = {"kind": "url", "url": "https://example.org/m.gguf"}
    artifact.save()
    other = Host.objects.create(name="other", endpoint="unix:///other.sock")
    stale = Artifact.objects.get(pk=artifact.pk)
    deleting.delete_artifact(ada, team, artifact)
    with pytest.raises(Conflict, match="being deleted"):
        fetching.to_host(ada, team, stale, other)
    assert [copy.host for copy in artifact.copies.all()] == [host]


def test_files_that_are_gone_can_be_fetched_again_by_their_own_team(
    resting: Any, ada: Any, eve: Any, team: Any, artifact: Any, host: Any
) -> None:
    artifact.source = {"kind": "url", "url": "https://example.org/m.gguf"}
    artifact.save()
    ownership.unshare(ada, artifact)
    [job] = deleting.delete_artifact(ada, team, artifact)

    def fetch(user: Any, acting: Any) -> Any:
        return fetching.to_host(user, acting, Artifact.objects.get(pk=artifact.pk), host)

    with pytest.raises(Conflict, match="being deleted"):
        fetch(ada, team)
    deleting.finish(job, {})
    ownership.grant(ada, artifact, "strangers")
    with pytest.raises(Conflict, match="being deleted"):
        fetch(eve, eve.teams.get())
    assert fetch(ada, team).kind == "fetch"
    assert not Artifact.objects.get(pk=artifact.pk).is_leaving
    assert artifact.copies.get().state == CopyState.FETCHING


def test_what_is_stopped_goes_on_holding_ones_own_teams_files(served: Any, ada: Any, team: Any, artifact: Any) -> None:
    ownership.unshare(ada, artifact)
    services.stop(ada, served)
    Replica.objects.update(state="stopped")
    with pytest.raises(Conflict, match="chat would serve it when it is started") as refused:
        deleting.delete_artifact(ada, team, artifact)
    assert refused.value.advice == "Delete or move those deployments first."


def test_files_that_are_being_deleted_are_not_deployed(ada: Any, team: Any, artifact: Any, host: Any) -> None:
    spare = sibling(artifact, host)
    kept = services.create(ada, team, services.DeploymentSpec("kept", artifact=artifact))
    deleting.delete_artifact(ada, team, spare)
    stale = Artifact.objects.get(pk=spare.pk)
    stale.is_leaving = False  # as somebody read it a moment before
    for seen in (stale, Artifact.objects.get(pk=spare.pk)):
        with pytest.raises(Conflict, match="being deleted"):
            services.create(ada, team, services.DeploymentSpec("late", artifact=seen))
        with pytest.raises(Conflict, match="being deleted"):
            services.edit(ada, kept, services.DeploymentPatch({"artifact": seen}))
    assert [row.name for row in Deployment.objects.all()] == ["kept"]


def test_the_name_of_a_deployment_that_is_being_deleted_says_when_it_is_free(
    served: Any, ada: Any, team: Any, artifact: Any
) -> None:
    services.delete(ada, served)
    with pytest.raises(Conflict, match="is being deleted; its name is free when 1 replica has stopped") as refused:
        services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact))
    assert "name" in refused.value.fields


def test_an_engine_that_cannot_load_the_files_is_refused_with_the_one_that_can(
    ada: Any, team: Any, artifact: Any, served: Any, host: Any
) -> None:
    halves = sibling(artifact, host, "config.json")
    Artifact.objects.filter(pk=halves.pk).update(format="safetensors", quantisation="F16")
    halves.refresh_from_db()
    for engine, files, can in (("vllm", artifact, "llama.cpp does"), ("llamacpp", halves, "vLLM does")):
        with pytest.raises(Invalid, match=can) as refused:
            services.create(ada, team, services.DeploymentSpec("wrong", artifact=files, engine=engine))
        assert list(refused.value.fields) == ["engine"]
    with pytest.raises(Invalid, match=r"llama.cpp does not load safetensors files.*vLLM does"):
        services.edit(ada, served, services.DeploymentPatch({"artifact": halves}))


def test_nobody_has_to_name_the_engine(ada: Any, team: Any, artifact: Any, host: Any) -> None:
    halves = sibling(artifact, host, "config.json")
    Artifact.objects.filter(pk=halves.pk).update(format="safetensors")
    halves.refresh_from_db()
    made = [
        services.create(ada, team, services.DeploymentSpec(f"d{files.pk}", artifact=files)).engine
        for files in (artifact, halves)
    ]
    assert made == ["llamacpp", "vllm"]


def test_another_engine_begins_with_its_own_options(ada: Any, team: Any, artifact: Any, host: Any) -> None:
    halves = sibling(artifact, host, "config.json")
    Artifact.objects.filter(pk=halves.pk).update(format="safetensors")
    halves.refresh_from_db()
    made = services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, options={"batch_size": 512}))
    planned = services.plan(made, services.DeploymentPatch({"artifact": halves, "engine": "vllm"}))
    assert planned.spec.options == {}


def test_the_last_copy_on_a_host_that_carries_the_placement_labels_stays(
    served: Any, ada: Any, team: Any, artifact: Any, host: Any
) -> None:
    other = Host.objects.create(name="other", endpoint="unix:///other.sock", labels=["eu"])
    ArtifactCopy.objects.create(artifact=artifact, host=other, state=CopyState.PRESENT)
    services.stop(ada, served)
    Replica.objects.update(state="stopped")
    Host.objects.filter(pk=host.pk).update(labels=["eu", "rack-3"])
    Deployment.objects.update(placement_labels=["rack-3"])
    with pytest.raises(Conflict, match="chat would serve it"):
        deleting.delete_copy(ada, team, artifact.copies.get(host=host))
    Deployment.objects.update(placement_labels=["eu"])
    assert deleting.delete_copy(ada, team, artifact.copies.get(host=host))
