"""Edits, restarts and rollbacks in the database: what is asked for, what follows, and what is refused."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from webapp.accounts.models import AuditEntry
from webapp.catalog.models import Artifact
from webapp.control import lease
from webapp.control.lease import is_due
from webapp.deployments import lifecycle, rolling, services
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.spec import DeploymentPatch
from webapp.deployments.states import ReplicaState
from webapp.foundation.errors import Conflict, Invalid, NotAllowed

FACTS = {
    "architecture": "llama", "layers": 2, "heads": 2, "kv_heads": 2, "embedding_length": 64, "weights_bytes": 1 << 20,
}  # fmt: skip
SHORT = DeploymentPatch({"options": {"context_length": 2048}})
LONG = DeploymentPatch({"options": {"context_length": 8192}})


@pytest.fixture
def small(artifact: Any) -> Any:
    """The artifact with facts that an estimate can be made of."""
    artifact.facts = FACTS
    artifact.save()
    return artifact


@pytest.fixture
def serve(small: Any, ada: Any, team: Any) -> Callable[..., Any]:
    """A deployment whose replicas are all in service."""

    def make(replicas: int = 2, **spec: Any) -> Deployment:
        made = services.create(ada, team, services.DeploymentSpec("chat", artifact=small, replicas=replicas, **spec))
        bring_up(made)
        return made

    return make


def bring_up(deployment: Deployment) -> None:
    """Let every replica that is wanted come up, as workers and watcher would, and the rollout go on."""
    for replica in deployment.replicas.filter(retired_at=None).exclude(state="ready"):
        bring(replica)
    rolling.advance(deployment.pk)
    deployment.refresh_from_db()


def bring(replica: Replica) -> None:
    from workers.controllers.replica import placing

    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    if claimed.state == ReplicaState.STOPPED:
        lifecycle.begin_again(claimed, ReplicaState.STOPPED, lifecycle.Reason("", ""))
    placing.place(claimed)
    for old, new in (("placing", "starting"), ("starting", "loading"), ("loading", "ready")):
        columns = {"ready_at": timezone.now() - timedelta(minutes=1)} if new == "ready" else {}
        why = lifecycle.Reason("", "")
        assert lifecycle.move(claimed, ReplicaState(old), ReplicaState(new), why, **columns), claimed.reason
    lease.release(claimed, 4.0)


def end_retired(deployment: Deployment) -> None:
    """Let what was retired drain and stop."""
    for replica in deployment.replicas.present().exclude(retired_at=None):
        claimed = lifecycle.REPLICA.claim(replica.pk)
        assert claimed is not None
        if claimed.state == ReplicaState.READY:
            lifecycle.move(claimed, ReplicaState.READY, ReplicaState.DRAINING, lifecycle.Reason("", ""))
        lifecycle.finish_stop(claimed, ReplicaState(claimed.state), lifecycle.Reason("", ""))
        lease.release(claimed, None)


def crash(replica: Replica, times: int = 1, retry: bool = True) -> None:
    for _time in range(times):
        claimed = lifecycle.REPLICA.claim(replica.pk)
        assert claimed is not None
        if claimed.state == ReplicaState.FAILED:
            lifecycle.begin_again(claimed, ReplicaState.FAILED, lifecycle.Reason("", ""))
        lifecycle.record_crash(claimed, lifecycle.Reason("exited", "It ended with code 1."), retry, counts=True)
        lease.release(claimed, None)


def there(deployment: Deployment) -> list[tuple[int, int, bool]]:
    """Number, revision and whether it is to go, of every replica that is there."""
    return [(r.number, r.revision.number, r.retired_at is not None) for r in deployment.replicas.present()]


def test_a_new_deployment_has_revision_1_and_is_in_service_when_all_replicas_are(serve: Any) -> None:
    deployment = serve()
    assert there(deployment) == [(1, 1, False), (2, 1, False)]
    [rollout] = deployment.rollouts.all()
    assert (rollout.kind, rollout.state, rollout.number) == ("create", "done", 1)
    assert deployment.next_due_at is None


def test_an_edit_brings_new_replicas_one_by_one_before_old_ones_go(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.edit(ada, deployment, SHORT)
    assert there(deployment) == [(1, 1, False), (2, 1, False), (3, 2, False)]
    bring_up(deployment)
    assert there(deployment) == [(1, 1, True), (2, 1, False), (3, 2, False), (4, 2, False)]
    assert deployment.state == "degraded" or deployment.state == "ready"
    bring_up(deployment)
    assert [number for number, _revision, is_going in there(deployment) if not is_going] == [3, 4]
    assert deployment.rollouts.first().state == "done"
    end_retired(deployment)
    assert there(deployment) == [(3, 2, False), (4, 2, False)]
    assert Deployment.objects.get(pk=deployment.pk).options == {"context_length": 2048}


def test_a_new_replica_that_is_only_just_ready_is_not_relied_on_yet(serve: Any, ada: Any, sent_tasks: Any) -> None:
    deployment = serve(replicas=1)
    services.edit(ada, deployment, SHORT)
    new = deployment.replicas.get(number=2)
    bring(new)
    Replica.objects.filter(pk=new.pk).update(ready_at=timezone.now())
    rolling.advance(deployment.pk)
    assert there(deployment) == [(1, 1, False), (2, 2, False)]
    Replica.objects.filter(pk=new.pk).update(ready_at=timezone.now() - timedelta(seconds=4))
    rolling.advance(deployment.pk)
    assert there(deployment) == [(1, 1, True), (2, 2, False)]


def test_a_replica_runs_its_own_revision_whatever_the_deployment_wants(serve: Any, ada: Any) -> None:
    deployment = serve(replicas=1)
    services.edit(ada, deployment, SHORT)
    old, new = Replica.objects.select_related("revision", "deployment").order_by("number")
    assert (old.contents.options, new.contents.options) == ({}, {"context_length": 2048})


def test_revisions_say_who_when_and_what(serve: Any, ada: Any, bob: Any) -> None:
    deployment = serve(replicas=1)
    services.edit(bob, deployment, DeploymentPatch(SHORT.spec, note="less memory"))
    revision = deployment.revisions.first()
    assert (revision.number, revision.actor, revision.note) == (2, "bob", "less memory")
    entry = AuditEntry.objects.get(verb="deployment.edit")
    assert entry.detail["changes"] == {"options.context_length": ["4096", "2048"]}
    assert "Context length: 4096 → 2048" in deployment.events.filter(actor="bob").first().text


def test_a_change_of_number_names_or_nothing_makes_no_revision(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.edit(ada, deployment, DeploymentPatch(replicas=3, aliases=("gpt-4o",)))
    services.edit(ada, deployment, DeploymentPatch({"options": {}}))
    assert deployment.revisions.count() == deployment.rollouts.count() == 1
    assert [number for number, _revision, _going in there(deployment)] == [1, 2, 3]


def test_an_edit_while_another_rolls_takes_its_place(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.edit(ada, deployment, SHORT)
    services.edit(ada, deployment, LONG)
    assert [rollout.state for rollout in deployment.rollouts.all()] == ["running", "superseded", "done"]
    # The one that had not come up serves nobody and goes; the old two stay until revision 3 is up.
    assert there(deployment) == [(1, 1, False), (2, 1, False), (3, 2, True), (4, 3, False)]


@pytest.mark.parametrize("way", ["final", "often", "late", "no room"])
def test_a_revision_that_does_not_become_ready_is_given_up_by_itself(serve: Any, ada: Any, way: str) -> None:
    deployment = serve()
    services.edit(ada, deployment, SHORT)
    new = deployment.replicas.get(number=3)
    if way == "no room":
        long_ago = timezone.now() - timedelta(minutes=6)
        Replica.objects.filter(pk=new.pk).update(reason_code="no_room", reason="No suitable host.", state_at=long_ago)
    elif way == "late":
        bring(new)
        lifecycle.move(new_row(new), ReplicaState.READY, ReplicaState.LOADING, lifecycle.Reason("", ""))
        long_ago = timezone.now() - timedelta(minutes=31)
        Replica.objects.filter(pk=new.pk).update(state_at=long_ago, progress_at=long_ago)
        deployment.rollouts.filter(state="running").update(started_at=long_ago)
    else:
        crash(new, 3 if way == "often" else 1, retry=way == "often")
    rolling.advance(deployment.pk)
    deployment.refresh_from_db()
    assert there(deployment) == [(1, 1, False), (2, 1, False), (3, 2, True)]
    failed = deployment.rollouts.get(state="failed")
    assert failed.reason
    assert (deployment.revision.number, deployment.options) == (1, {})
    assert "rolled back from revision 2 to 1" in "".join(e.text for e in deployment.events.all())
    assert deployment.next_due_at is None
    # The next change does not take up the number that failed.
    services.edit(ada, deployment, LONG)
    assert deployment.rollouts.first().number == 3 and deployment.revisions.first().number == 3


def new_row(replica: Replica) -> Replica:
    return Replica.objects.select_related("deployment").get(pk=replica.pk)


def test_a_first_revision_that_never_becomes_ready_goes_on_trying(small: Any, ada: Any, team: Any) -> None:
    deployment = services.create(ada, team, services.DeploymentSpec("chat", artifact=small))
    crash(deployment.replicas.get(), 5)
    rolling.advance(deployment.pk)
    assert deployment.rollouts.get().state == "running"
    assert there(deployment) == [(1, 1, False)]


def test_a_rollback_is_a_new_revision_with_the_old_contents(serve: Any, ada: Any) -> None:
    deployment = serve(replicas=1)
    services.edit(ada, deployment, SHORT)
    bring_up(deployment)
    services.roll_back(ada, deployment, 1)
    newest = deployment.revisions.first()
    assert (newest.number, newest.options, newest.note) == (3, {}, "roll back to revision 1")
    assert deployment.rollouts.first().kind == "rollback"


def test_a_restart_replaces_every_replica_by_one_of_the_same_revision(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.restart(ada, deployment)
    for _round in range(2):
        bring_up(deployment)
        end_retired(deployment)
    assert there(deployment) == [(3, 1, False), (4, 1, False)]
    assert deployment.revisions.count() == 1


def test_scaling_to_nothing_stops_all_and_start_brings_one_back(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.scale(ada, deployment, 0)
    end_retired(deployment)
    deployment = Deployment.objects.for_list().get()
    assert (deployment.state, there(deployment)) == ("stopped", [])
    services.start(ada, deployment)
    assert there(deployment) == [(3, 1, False)]


def test_what_was_edited_while_stopped_starts_with_the_new_contents(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.stop(ada, deployment)
    for replica in deployment.replicas.all():
        claimed = lifecycle.REPLICA.claim(replica.pk)
        lifecycle.move(claimed, ReplicaState.READY, ReplicaState.DRAINING, lifecycle.Reason("", ""))
        lifecycle.finish_stop(claimed, ReplicaState.DRAINING, lifecycle.Reason("", ""))
        lease.release(claimed, None)
    services.edit(ada, deployment, SHORT)
    assert [revision for _number, revision, _going in there(deployment)] == [1, 1]
    services.start(ada, deployment)
    assert there(deployment) == [(3, 2, False), (4, 2, False)]


def leave_room_for(host: Any, replicas: int, deployment: Deployment) -> None:
    """Shrink the host's memory so that it holds so many replicas, each as big as the first, and half of one more."""
    size = (
        host.reservations.filter(owner=deployment.replicas.first().reservation_owner, accelerator=None).get().size_bytes
    )
    type(host).objects.filter(pk=host.pk).update(usable_bytes=int(size * (replicas + 0.5)))


def test_without_room_for_both_a_gap_must_be_allowed(serve: Any, ada: Any, host: Any) -> None:
    deployment = serve(replicas=1)
    leave_room_for(host, 1, deployment)
    planned = services.plan(deployment, LONG)
    assert (planned.rolls, planned.needs_downtime, planned.refusal) == (True, True, "")
    with pytest.raises(Conflict, match="one replica would be missing for about") as refused:
        services.edit(ada, deployment, LONG)
    assert "allow_downtime" in refused.value.fields
    assert deployment.revisions.count() == 1
    services.edit(ada, deployment, DeploymentPatch(LONG.spec, allow_downtime=True))
    assert there(deployment) == [(1, 1, True)]
    rolling.advance(deployment.pk)
    assert there(deployment) == [(1, 1, True)], "its memory is waited for"
    end_retired(deployment)
    rolling.advance(deployment.pk)
    assert there(deployment) == [(2, 2, False)]
    bring_up(deployment)
    assert deployment.rollouts.first().state == "done"


def test_what_fits_nowhere_is_refused_even_with_a_gap(serve: Any, ada: Any, host: Any, small: Any) -> None:
    deployment = serve(replicas=1)
    leave_room_for(host, 1, deployment)
    small.pk, small.quantisation, small.facts = None, "F32", {**FACTS, "weights_bytes": 1 << 40}
    small.save()
    small.copies.create(host=host, state="present")
    with pytest.raises(Conflict, match="It doesn't fit on any host"):
        services.edit(ada, deployment, DeploymentPatch({"artifact": small}, allow_downtime=True))
    assert deployment.revisions.count() == 1


def test_a_gap_that_failed_is_gone_back_through_too(serve: Any, ada: Any, host: Any) -> None:
    deployment = serve(replicas=1)
    leave_room_for(host, 1, deployment)
    services.edit(ada, deployment, DeploymentPatch(LONG.spec, allow_downtime=True))
    end_retired(deployment)
    rolling.advance(deployment.pk)
    crash(deployment.replicas.get(number=2), retry=False)
    rolling.advance(deployment.pk)
    assert there(deployment) == [(2, 2, True), (3, 1, False)]


def test_bad_requests_are_refused_and_change_nothing(serve: Any, ada: Any, eve: Any, small: Any, host: Any) -> None:
    deployment = serve(replicas=1)
    elsewhere = Artifact.objects.create(
        catalog_model=small.catalog_model, format="gguf", quantisation="Q4_0", main_file="x.gguf", facts=FACTS
    )
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: services.edit(ada, deployment, DeploymentPatch(replicas=1000)), Invalid, "Between 0 and 64"),
        (lambda: services.scale(ada, deployment, -1), Invalid, "Between 0 and 64"),
        (lambda: services.roll_back(ada, deployment, 7), Invalid, "has no revision 7"),
        (lambda: services.roll_back(ada, deployment, 1), Conflict, "already runs what revision 1 ran"),
        (
            lambda: services.edit(ada, deployment, DeploymentPatch({"artifact": elsewhere})),
            Invalid,
            "are not on any host",
        ),
        (lambda: services.edit(ada, deployment, DeploymentPatch({"engine": "abacus"})), Invalid, "no engine 'abacus'"),
        (lambda: services.edit(ada, deployment, DeploymentPatch({"options": {"rm": 1}})), Invalid, "rm"),
        (lambda: services.edit(ada, deployment, DeploymentPatch(SHORT.spec, base=9)), Conflict, "at revision 1"),
        (lambda: services.edit(eve, deployment, SHORT), NotAllowed, "operator"),
        (lambda: services.restart(eve, deployment), NotAllowed, "operator"),
    ]
    for verb, kind, words in cases:
        with pytest.raises(kind, match=words):
            verb()
    assert (deployment.revisions.count(), deployment.rollouts.count()) == (1, 1)
    assert there(deployment) == [(1, 1, False)]


def test_what_is_being_deleted_takes_no_change(serve: Any, ada: Any) -> None:
    deployment = serve(replicas=1)
    services.delete(ada, deployment)
    for verb in (
        lambda: services.edit(ada, deployment, SHORT),
        lambda: services.scale(ada, deployment, 3),
        lambda: services.restart(ada, deployment),
        lambda: services.roll_back(ada, deployment, 1),
    ):
        with pytest.raises(Conflict, match="is being deleted"):
            verb()


def test_a_deployment_without_replicas_is_deleted_too(serve: Any, ada: Any, sent_tasks: Any) -> None:
    deployment = serve(replicas=1)
    services.scale(ada, deployment, 0)
    end_retired(deployment)
    services.delete(ada, deployment)
    assert Deployment.objects.filter(is_due()).exists()
    rolling.advance(deployment.pk)
    assert not Deployment.objects.exists()


def test_of_what_was_replaced_the_newest_logs_stay(serve: Any, ada: Any) -> None:
    deployment = serve(replicas=1)
    for _round in range(rolling.KEEP_RETIRED + 3):
        services.restart(ada, deployment)
        bring_up(deployment)
        end_retired(deployment)
    # The last one stopped after its rollout had ended.
    assert deployment.replicas.exclude(retired_at=None).count() == rolling.KEEP_RETIRED + 1


def test_looking_again_and_again_changes_nothing(serve: Any, ada: Any) -> None:
    deployment = serve()
    services.edit(ada, deployment, SHORT)
    before = there(deployment), deployment.events.count()
    for _copy in range(10):
        rolling.advance(deployment.pk)
    assert (there(deployment), deployment.events.count()) == before
    assert Deployment.objects.get(pk=deployment.pk).next_due_at is not None
