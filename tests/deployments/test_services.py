"""Requests for deployments."""

import pytest

from webapp.accounts.models import AuditEntry
from webapp.deployments import services
from webapp.deployments.models import Deployment, Replica
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import ROUTES

pytestmark = pytest.mark.django_db


def test_a_request_becomes_rows_an_event_an_audit_row_and_a_new_snapshot(ada, team, artifact):
    before = events.version(ROUTES)
    made = services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, replicas=3))
    assert Replica.objects.due().filter(deployment=made).count() == 3
    assert made.events.get().text == "requested a start"
    assert AuditEntry.objects.get(verb="deployment.create").subject == "chat"
    assert events.version(ROUTES) > before


def test_a_refused_request_leaves_nothing(ada, eve, team, artifact, deployment):
    counts = Deployment.objects.count(), AuditEntry.objects.count(), events.version(ROUTES)
    with pytest.raises(Conflict):
        services.create(ada, team, services.DeploymentSpec(deployment.name, artifact=artifact))
    with pytest.raises(NotAllowed):
        services.create(eve, team, services.DeploymentSpec("hers", artifact=artifact))
    with pytest.raises(Invalid):
        services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, options={"context_length": 10}))
    assert (Deployment.objects.count(), AuditEntry.objects.count(), events.version(ROUTES)) == counts


def test_two_teams_may_use_the_same_name(ada, eve, team, artifact, deployment):
    assert (
        services.create(eve, eve.teams.get(), services.DeploymentSpec(deployment.name, artifact=artifact)).pk
        != deployment.pk
    )


def test_stopping_and_starting_make_every_replica_due(ada, make_deployment):
    deployment = make_deployment("pair", replicas=2)
    services.stop(ada, deployment)
    assert Replica.objects.due().count() == 2
    Replica.objects.update(next_due_at=None, state="stopped")
    services.start(ada, deployment)
    assert Replica.objects.due().count() == 2
    assert Deployment.objects.get(pk=deployment.pk).desired_state == "running"


def test_starting_takes_back_no_number_that_was_asked_for_meanwhile(ada, deployment):
    services.scale(ada, deployment, 0)
    seen = Deployment.objects.select_related("team").get()
    services.scale(ada, deployment, 3)
    services.start(ada, seen)
    assert Deployment.objects.get().desired_replicas == 3


def test_starting_a_failed_deployment_forgets_its_crashes(ada, deployment):
    Replica.objects.update(state="failed", crash_count=6, next_due_at=None)
    services.start(ada, deployment)
    replica = Replica.objects.due().get()
    assert replica.crash_count == 0


def test_a_deployment_that_is_being_deleted_takes_no_other_request(ada, deployment):
    services.delete(ada, deployment)
    for verb in (services.start, services.stop):
        with pytest.raises(Conflict, match="is being deleted"):
            verb(ada, deployment)


def test_only_what_was_chosen_is_stored_so_that_defaults_may_improve(ada, team, artifact):
    made = services.create(
        ada, team, services.DeploymentSpec("chat", artifact=artifact, options={"context_length": 2048})
    )
    assert made.options == {"context_length": 2048}
