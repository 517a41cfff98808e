"""Code that pages offer: sound in its own language, asking what it says; tests/browser/test_snippets.py runs it."""

import ast
import json
import shlex

import pytest
from django.urls import reverse

from webapp.deployments import sharing
from webapp.deployments.models import Deployment
from webapp.snippets import snippets


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
