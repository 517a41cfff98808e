"""Many workers and people at once, lost messages, and databases from before there were revisions."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests.inventory.test_concurrency import race
from webapp.deployments import rolling, services
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.spec import DeploymentPatch
from webapp.foundation.errors import Conflict

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def served(artifact: Any, ada: Any, team: Any) -> Any:
    made = services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, replicas=2))
    made.replicas.update(state="ready", ready_at="2026-01-01T00:00:00Z", next_due_at=None)
    rolling.advance(made.pk)
    return made


def test_eight_workers_that_look_at_once_add_one_replica(served: Any, ada: Any) -> None:
    services.edit(ada, served, DeploymentPatch({"options": {"context_length": 2048}}))
    Replica.objects.filter(number=3).delete()
    race(lambda _number: rolling.advance(served.pk))
    assert list(served.replicas.values_list("number", "retired_at")) == [(1, None), (2, None), (4, None)]
    served.replicas.filter(number=4).update(state="ready", ready_at="2026-01-01T00:00:00Z")
    race(lambda _number: rolling.advance(served.pk))
    assert served.replicas.exclude(retired_at=None).count() == 1
    assert served.replicas.filter(retired_at=None).count() == 3
    assert served.events.filter(text__startswith="removes replica").count() == 1


def test_of_eight_people_who_edit_the_same_revision_one_wins(served: Any, ada: Any) -> None:
    def edit(number: int) -> bool:
        try:
            services.edit(ada, served, DeploymentPatch({"options": {"context_length": 1024 + 256 * number}}, base=1))
        except Conflict:
            return False
        return True

    assert sum(race(edit)) == 1
    assert served.revisions.count() == 2
    assert served.rollouts.filter(state="running").count() == 1


def test_the_sweep_finds_a_rollout_whose_every_message_was_lost(served: Any, ada: Any, sent_tasks: Any) -> None:
    from workers.controllers import sweeping

    services.edit(ada, served, DeploymentPatch({"options": {"context_length": 2048}}))
    new = served.replicas.get(number=3)
    sent_tasks.clear()
    Deployment.objects.update(next_due_at="2026-01-01T00:00:00Z")
    sweeping.sweep()
    assert ("deployments.reconcile", new.pk) in sent_tasks
    assert ("deployments.roll", served.pk) in sent_tasks


@pytest.mark.slow
def test_what_ran_before_there_were_revisions_is_revision_1_afterwards(served: Any, ada: Any) -> None:
    executor = MigrationExecutor(connection)
    try:
        executor.migrate([("deployments", "0001_initial")])
        executor.loader.build_graph()
    finally:
        executor.migrate(executor.loader.graph.leaf_nodes())
    deployment = Deployment.objects.get()
    assert (deployment.revision.number, deployment.rollouts.get().state) == (1, "done")
    assert {replica.revision_id for replica in deployment.replicas.all()} == {deployment.revision_id}
    services.edit(ada, deployment, DeploymentPatch({"options": {"context_length": 2048}}))
    assert list(deployment.replicas.values_list("number", flat=True)) == [1, 2, 3]
