"""Code that pages offer: sound in its own language, asking what it says; tests/browser/test_snippets.py runs it."""

import ast
import json
import shlex

import pytest
from django.urls import reverse

from webapp.deployments import sharing
from webapp.deployments.models import Deployment
from webapp.deployments.snippets import snippets


def test_each_is_sound_and_asks_the_same():
    curl, python, javascript = (snippet.text for snippet in snippets("http://yard:8000", "chat.v2", "my_key"))
    words = shlex.split(curl)
    assert words[:2] == ["curl", "http://yard:8000/v1/chat/completions"]
    assert "Authorization: Bearer my_key" in words
    wanted = {"model": "chat.v2", "messages": [{"role": "user", "content": "Hello!"}]}
    assert json.loads(words[-1]) == wanted
    strings = {node.value for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Constant)}
    assert {"http://yard:8000/v1", "my_key", "chat.v2", "Hello!"} <= strings
    assert "http://yard:8000/v1/chat/completions" in javascript and 'model: "chat.v2"' in javascript


def test_a_deployment_for_vectors_is_asked_for_one():
    curl, python, javascript = (snippet.text for snippet in snippets("http://yard:8000", "bge", embeddings=True))
    words = shlex.split(curl)
    assert words[1] == "http://yard:8000/v1/embeddings"
    assert json.loads(words[-1]) == {"model": "bge", "input": "Hello!"}
    assert ast.parse(python) and 'client.embeddings.create(model="bge", input="Hello!")' in python
    assert 'fetch("http://yard:8000/v1/embeddings"' in javascript and "data[0].embedding" in javascript


@pytest.fixture
def ready(deployment):
    deployment.replicas.update(state="ready")
    return deployment


def test_a_models_page_shows_how_to_ask_the_deployment_that_is_ready(client, ada, ready):
    client.force_login(ada)
    url = reverse("catalog:detail", args=[ready.artifact.catalog_model.slug])
    text = client.get(url).content.decode()
    assert "Use this model" in text and "curl http://127.0.0.1:8000/v1/chat/completions" in text
    ready.replicas.update(state="failed")
    assert "Use this model" not in client.get(url).content.decode()


def test_another_teams_deployment_is_asked_by_its_own_address(client, ada, eve, ready, artifact):
    sharing.grant(ada, ready, "strangers")
    Deployment.objects.create(team=eve.teams.get(), name=ready.name, artifact=artifact, engine="llamacpp")
    client.force_login(eve)
    for name, key in (("deployments:detail", ready.pk), ("catalog:detail", ready.artifact.catalog_model.slug)):
        text = client.get(reverse(name, args=[key])).content.decode()
        assert "http://127.0.0.1:8000/d/research/smollm2/v1/chat/completions" in text, name


@pytest.fixture
def shown(client, ada, team):
    """What the page of a new key of ada's says."""
    client.force_login(ada)

    def make():
        typed = {"team": team.pk, "name": "laptop", "scopes": ["inference"]}
        answer = client.post("/keys/new/", typed)
        assert answer.status_code == 200, answer.content
        return answer.content.decode()

    return make


def test_a_new_key_asks_what_is_ready_before_what_is_not(shown, ready, artifact, team):
    Deployment.objects.create(team=team, name="a-first-by-name", artifact=artifact, engine="llamacpp")
    page = shown()
    assert f"This example calls <code>{ready.name}</code>." in page
    assert f"&quot;model&quot;: &quot;{ready.name}&quot;" in page and "MODEL" not in page
    ready.replicas.update(state="failed")
    assert "which is not ready yet" in shown()


def test_a_new_key_chats_before_it_asks_for_vectors(shown, ready, make_deployment):
    vectors = make_deployment("a-first-by-name", options={"embeddings": True})
    vectors.replicas.update(state="ready")
    assert f"This example calls <code>{ready.name}</code>." in shown()
    ready.replicas.update(state="loading")
    page = shown()
    assert "This example calls <code>a-first-by-name</code>." in page, "what answers now goes before what does not"
    assert "/v1/embeddings" in page and "chat/completions" not in page


def test_a_new_key_of_a_team_that_was_granted_something_asks_by_its_address(shown, eve, ready, team):
    strangers = eve.teams.get()
    Deployment.objects.filter(pk=ready.pk).update(team=strangers)
    assert "has no deployment to call yet" in shown()
    ready.refresh_from_db()
    sharing.grant(eve, ready, team.slug)
    page = shown()
    assert f"of team {strangers.name}" in page
    assert f"/d/{strangers.slug}/{ready.name}/v1/chat/completions" in page


def test_without_a_deployment_a_new_key_says_what_to_put_in_place_of_the_word(shown, ready):
    Deployment.objects.update(desired_state="deleted")
    page = shown()
    assert "replace <code>MODEL</code> with the deployment" in page
    assert "&quot;model&quot;: &quot;MODEL&quot;" in page


def test_a_models_page_shows_chat_first_and_vectors_have_no_playground(client, ada, ready, make_deployment):
    vectors = make_deployment("a-first-by-name", options={"embeddings": True})
    vectors.replicas.update(state="ready")
    client.force_login(ada)
    text = client.get(reverse("catalog:detail", args=[ready.artifact.catalog_model.slug])).content.decode()
    assert f'As <a href="/deployments/{ready.pk}/">' in text
    pages = {row.pk: client.get(f"/deployments/{row.pk}/").content.decode() for row in (vectors, ready)}
    links = {pk: f"/playground/?deployment={pk}" in page for pk, page in pages.items()}
    assert links == {vectors.pk: False, ready.pk: True}
    assert "/v1/embeddings" in pages[vectors.pk]
