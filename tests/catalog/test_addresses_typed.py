"""Addresses as people write them reach the wire encoded or are refused in words, in every field that takes one."""

import pytest

from tests.catalog.gguf_file import gguf_bytes
from webapp.catalog.models import Artifact, Hub
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def open_net(monkeypatch):
    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")


def post(client, path, data):
    return client.post(f"/api/v1{path}", data, content_type="application/json")


@pytest.mark.parametrize("name", ["modèle-1B.gguf", "mod%C3%A8le-1B.gguf", "模型-1B.gguf", "a b-1B.GGUF"])
def test_a_file_is_fetched_by_an_address_with_any_letters(client, ada, team, host, small_hub, open_net, name):
    from urllib.parse import unquote

    plain = unquote(name)
    small_hub.add("plain/files", {plain: gguf_bytes()})
    client.force_login(ada)
    reply = post(
        client, "/downloads", {"team": team.slug, "host": host.pk, "url": f"{small_hub.url}/plain/{name}?sig=ü"}
    )
    assert reply.status_code == 202, reply.content
    artifact = Artifact.objects.get()
    assert artifact.main_file == plain.replace(".GGUF", ".gguf") and Job.objects.get().artifact == artifact


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/m\u202e.gguf", "http://127.0.0.1/m\x1b.gguf", "http://127.0.0.1/m\n.gguf",
        "http://exa mple.org/m.gguf", "http://ex\u2024ample/m.gguf", "http://[::1/m.gguf", "http://127.0.0.1:99999/m.gguf",
        "http://\u200b/m.gguf", "http://" + "ä" * 70 + ".example/m.gguf", "http://127.0.0.1\\m.gguf", "ä.gguf",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_asked_is_refused_in_words(client, ada, team, host, open_net, url):
    client.force_login(ada)
    reply = post(client, "/downloads", {"team": team.slug, "host": host.pk, "url": url})
    assert reply.status_code in (422, 503), reply.content
    assert not Artifact.objects.exists()


@pytest.mark.parametrize(
    "endpoint", ["https://hüb.example", "https://hub.example/modèles", "https://hub.example/\u202e"]
)
def test_a_hubs_address_is_encoded_or_refused(client, root, endpoint):
    client.force_login(root)
    reply = post(client, "/hubs", {"name": "Hüb", "endpoint": endpoint})
    assert reply.status_code in (201, 422), reply.content
    if reply.status_code == 201:
        found = client.get(f"/api/v1/hubs/{Hub.objects.get(name='Hüb').pk}/search?q=x")
        assert found.status_code < 500 or found.status_code == 503, found.content
