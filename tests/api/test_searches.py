"""The same words find the same rows: in the API's list, on the page, in the box on top, and in a form's choice."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps

from webapp.accounts import services as accounts
from webapp.foundation.search import filter_rows, is_searchable
from webapp.interfaces.pages.dashboard import search
from webapp.interfaces.pages.deployments.forms import PickArtifact, PickHost
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db

SEARCHABLE = [model for model in apps.get_models() if is_searchable(model)]


@pytest.fixture
def things(ada: Any, team: Any, host: Any, artifact: Any, make_deployment: Callable[..., Any]) -> None:
    """Each has words that only one of the lists used to look into."""
    type(host).objects.filter(pk=host.pk).update(labels=["upper shelf"])
    type(artifact.catalog_model).objects.update(architecture="llama", licence="apache-2.0", slug="smol-135")
    make_deployment("chat")
    Job.objects.create(kind="fetch", team=team, requested_by=ada, host=host, artifact=artifact, subject="weights")
    accounts.create_key(ada, team, "laptop")


PLACES = {
    "deployments": ("/deployments/", "Deployments"),
    "models": ("/models/", "Models"),
    "hosts": ("/hosts/", "Hosts"),
    "jobs": ("/jobs/", "Jobs"),
    "keys": ("/keys/", "API keys"),
}


@pytest.mark.parametrize(
    ("kind", "q", "hits"),
    [
        ("deployments", "CHAT", 1),
        ("deployments", "llamacpp", 1),
        ("deployments", "Research chat SMOL", 1),
        ("deployments", "chat other", 0),
        ("models", "smol-135", 1),
        ("models", "APACHE llama", 1),
        ("models", "apache vllm", 0),
        ("hosts", "upper", 1),
        ("hosts", "upper lower", 0),
        ("jobs", "weights", 1),
        ("jobs", "queued FETCH", 1),
        ("jobs", "ada smol", 1),
        ("jobs", "#{job}", 1),
        ("jobs", "fetch {job}", 1),
        ("jobs", "#999999", 0),
        ("keys", "LAPTOP research", 1),
    ],
)
def test_every_list_finds_the_same(
    client: Any, as_caller: Any, ada: Any, things: None, kind: str, q: str, hits: int
) -> None:
    q = q.format(job=Job.objects.get().pk)
    address, title = PLACES[kind]
    client.force_login(ada)
    on_page = client.get(address, {"q": q}).context["listing"].page.object_list
    in_box = next((group.hits for group in search.find(ada, q) if group.title == title), ())
    by_api = as_caller(ada).get(f"/api/v1/{kind}", {"q": q}).json()
    assert (len(on_page), len(in_box), by_api["count"]) == (hits, hits, hits)


@pytest.mark.parametrize("q", ["upper", "q8_0 GGUF", "smol no-such-word"])
def test_a_choice_in_a_form_finds_what_the_api_finds(as_caller: Any, ada: Any, things: None, q: str) -> None:
    for name, pick in (("hosts", PickHost()), ("artifacts", PickArtifact())):
        pick.queryset = pick.queryset.model.objects.all()
        pick.narrow("pick", {"pick-q": q}, None)
        chosen = [key for key, _ in pick.widget.choices if key]
        found = as_caller(ada).get(f"/api/v1/{name}", {"q": q}).json()
        assert chosen == [item["id"] for item in found["items"]], name


@pytest.mark.parametrize("q", ["research\x1bCHAT\x7f", "chat\tresearch", "\x85chat"])
def test_control_characters_part_words_and_are_not_looked_for(
    client: Any, as_caller: Any, ada: Any, things: None, q: str
) -> None:
    client.force_login(ada)
    assert len(client.get("/deployments/", {"q": q}).context["listing"].page.object_list) == 1
    assert as_caller(ada).get("/api/v1/deployments", {"q": q}).json()["count"] == 1
    assert search.find(ada, q)[0].title == "Deployments"


def test_nul_is_a_blank_to_people_and_refused_to_programs(client: Any, as_caller: Any, ada: Any, things: None) -> None:
    client.force_login(ada)
    assert client.get("/deployments/", {"q": "chat\0research"}).context["listing"].q == "chat research"
    assert as_caller(ada).get("/api/v1/deployments", {"q": "chat\0research"}).status_code == 422


def test_too_long_a_text_is_cut_for_people_and_refused_to_programs(
    client: Any, as_caller: Any, ada: Any, things: None
) -> None:
    """A page shows in its box what was looked for; a program would not notice that its last words were dropped."""
    client.force_login(ada)
    q = "chat" + " " * 96 + "other"
    assert client.get("/deployments/", {"q": q}).context["listing"].q == "chat"
    assert search.find(ada, q)[0].title == "Deployments"
    assert as_caller(ada).get("/api/v1/deployments", {"q": q}).status_code == 422


@pytest.mark.parametrize("model", SEARCHABLE, ids=lambda model: model._meta.label_lower)
def test_what_is_searched_is_there(model: Any) -> None:
    """Each column makes a query that the database takes, and a word that is a number too."""
    for q in ("no-such-words", "#999999", "%", "99999999999999999999999"):
        assert not filter_rows(model._default_manager.all(), q).exists()


def test_these_are_searched() -> None:
    assert {model._meta.label_lower for model in SEARCHABLE} == {
        "accounts.apikey", "accounts.auditentry", "accounts.team", "accounts.user", "catalog.allowedimage",
        "catalog.artifact", "catalog.catalogmodel", "deployments.deployment", "deployments.replicaevent",
        "inventory.host", "jobs.job", "quantisation.promptset", "schedules.schedule",
    }  # fmt: skip


def test_a_list_of_something_else_is_not_searched(as_caller: Any, ada: Any) -> None:
    assert as_caller(ada).get("/api/v1/notification-targets", {"q": "x"}).status_code == 422
