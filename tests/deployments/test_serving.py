"""What a deployment answers and what its model can do: what gateways, page and API say is what the engine does."""

from typing import Any

import pytest
from django.urls import reverse

from tests.deployments.test_fit import make_files, make_host
from tests.deployments.test_placement_labels import send
from webapp.deployments import lifecycle, routes, services
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.spec import DeploymentSpec
from webapp.deployments.states import ReplicaState
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import ROUTES

CANNOT = {"tools": False, "vision": False, "audio": False, "context_length": 1024}


@pytest.fixture
def files(db: None) -> Any:
    return make_files(1, make_host("only"))


def make(ada: Any, team: Any, files: Any, **options: Any) -> Deployment:
    return services.create(ada, team, DeploymentSpec("chat", artifact=files, options=options))


def told() -> dict[str, Any]:
    [found] = routes.build(0)["deployments"]
    return found


def test_embeddings_are_offered_only_where_the_options_ask_for_them(ada: Any, team: Any, files: Any) -> None:
    made = make(ada, team, files)
    assert "embeddings" not in told()["endpoints"]
    assert {"chat/completions", "responses", "messages", "tokenize"} <= set(told()["endpoints"])
    Deployment.objects.filter(pk=made.pk).update(options={"embeddings": True})
    assert {"chat/completions", "embeddings"} <= set(told()["endpoints"])


def test_a_model_that_writes_nothing_offers_only_vectors(ada: Any, team: Any, files: Any) -> None:
    files.facts |= {"generates": False, "pooling": "cls"}
    files.save()
    make(ada, team, files)
    assert told()["endpoints"] == ["embeddings", "models", "tokenize", "detokenize"]


def test_options_of_another_version_leave_the_gateways_all_others(ada: Any, team: Any, files: Any) -> None:
    made = make(ada, team, files)
    Deployment.objects.filter(pk=made.pk).update(options={"forgotten": 1})
    assert "chat/completions" in told()["endpoints"]


def test_what_the_engine_says_of_itself_reaches_gateways_api_and_page(
    client: Any, ada: Any, team: Any, files: Any
) -> None:
    made = make(ada, team, files, context_length=2048)
    assert (told()["tools"], told()["context_length"]) == (None, 2048)
    assert told()["created_at"] == made.created_at.timestamp()
    version = events.version(ROUTES)
    replica = made.replicas.get()
    lifecycle.record_capabilities(replica.pk, CANNOT)
    assert events.version(ROUTES) != version
    lifecycle.record_capabilities(replica.pk, CANNOT)
    assert (told()["tools"], told()["vision"], told()["context_length"]) == (False, False, 1024)
    serves = send(client, ada, team, "get", f"/deployments/{made.pk}").json()["serves"]
    assert (serves["tools"], serves["context_length"], "embeddings" in serves["endpoints"]) == (False, 1024, False)
    client.force_login(ada)
    page = client.get(reverse("deployments:detail", args=[made.pk])).content.decode()
    assert "cannot call tools" in page and "takes 1024 tokens a request" in page


def test_the_replica_that_is_ready_is_believed(ada: Any, team: Any, files: Any) -> None:
    made = make(ada, team, files)
    first = made.replicas.get()
    Replica.objects.filter(pk=first.pk).update(capabilities=CANNOT, state=ReplicaState.READY)
    Replica.objects.create(
        deployment=made, number=2, generation=2, capabilities={**CANNOT, "tools": True}, state=ReplicaState.LOADING
    )
    assert told()["tools"] is False
    Replica.objects.filter(number=2).update(state=ReplicaState.READY)
    assert told()["tools"] is True


def test_the_last_answer_of_an_engine_is_the_reason_while_it_loads(ada: Any, team: Any, files: Any) -> None:
    replica = make(ada, team, files).replicas.get()
    run = (replica.pk, replica.generation, replica.attempt)
    lifecycle.record_answer(*run, "The engine answers 400: no")
    replica.refresh_from_db()
    assert replica.reason == "", "it does not load yet"
    Replica.objects.filter(pk=replica.pk).update(state=ReplicaState.LOADING, reason="the container is running")
    lifecycle.record_answer(replica.pk, replica.generation, replica.attempt + 1, "of another attempt")
    lifecycle.record_answer(*run, "The engine answers 400: Pooling type 'none' is not OAI compatible.")
    replica.refresh_from_db()
    assert (replica.reason_code, replica.state) == ("not_serving", "loading")
    assert replica.reason == "The engine answers 400: Pooling type 'none' is not OAI compatible."
    Replica.objects.filter(pk=replica.pk).update(reason_code="unhealthy", reason="3 consecutive health checks failed.")
    lifecycle.record_answer(*run, "The engine answers 500: no")
    replica.refresh_from_db()
    assert (replica.reason_code, replica.reason) == ("unhealthy", "The engine answers 500: no"), "it has less time"
