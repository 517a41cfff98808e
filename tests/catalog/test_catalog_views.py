"""Pages of models: what there is, what the files hold, and the import of a file."""

import pytest
from django.urls import reverse

from tests.catalog.gguf_file import write_gguf
from webapp.catalog.models import CatalogModel
from webapp.jobs.models import Job


@pytest.mark.parametrize("person", ["ada", "bob", "eve"])
def test_everybody_sees_the_catalogue(client, request, artifact, person):
    client.force_login(request.getfixturevalue(person))
    assert "SmolLM2 135M Instruct" in client.get(reverse("catalog:index")).content.decode()
    text = client.get(reverse("catalog:detail", args=["smollm2-135m-instruct"])).content.decode()
    assert "ab" * 32 in text
    assert "138.1 MiB" in text


def test_a_strangers_page_does_not_say_where_the_model_runs(client, eve, deployment):
    client.force_login(eve)
    text = client.get(reverse("catalog:detail", args=["smollm2-135m-instruct"])).content.decode()
    assert "Not deployed." in text


def test_a_model_that_is_not_there_is_a_404(client, ada):
    client.force_login(ada)
    assert client.get(reverse("catalog:detail", args=["none"])).status_code == 404


def test_the_header_of_a_file_cannot_speak_html(client, ada, artifact):
    artifact.facts = {"architecture": "<script>alert(1)</script>", "name": "<img src=x>", "tensor_bytes": [["<b>", 5]]}
    artifact.save()
    client.force_login(ada)
    text = client.get(reverse("catalog:detail", args=["smollm2-135m-instruct"])).content.decode()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "<b>" not in text


def form(team, host, path, **more):
    return {"source_path": str(path), "member": "", "model_name": "", "team": team.pk, "host": host.pk, **more}


def test_an_operator_imports_a_file(client, bob, team, host, import_dir):
    path = write_gguf(import_dir / "tiny.gguf")
    client.force_login(bob)
    reply = client.post(reverse("catalog:import"), form(team, host, path, model_name="Tiny"))
    job = Job.objects.get()
    assert reply.url == reverse("jobs:detail", args=[job.pk])
    assert CatalogModel.objects.get().name == "Tiny"


def test_a_file_outside_the_allowed_folders_is_refused_beside_its_field(client, ada, team, host):
    client.force_login(ada)
    reply = client.post(reverse("catalog:import"), form(team, host, "/etc/passwd"))
    assert reply.status_code == 422
    assert "/etc/passwd" in reply.content.decode()
    assert not Job.objects.exists()


def test_a_broken_header_is_refused_and_nothing_typed_is_lost(client, ada, team, host, import_dir):
    path = import_dir / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    client.force_login(ada)
    reply = client.post(reverse("catalog:import"), form(team, host, path, model_name="My model"))
    assert reply.status_code == 422
    assert 'value="My model"' in reply.content.decode()
    assert not CatalogModel.objects.exists()


def test_a_stranger_cannot_import_for_the_team(client, eve, team, host, import_dir):
    client.force_login(eve)
    assert client.post(reverse("catalog:import"), form(team, host, import_dir / "tiny.gguf")).status_code == 422
    assert not Job.objects.exists()


def test_the_pages_cost_the_same_queries_for_one_and_for_thirty(client, ada, artifact, make_deployment, count_queries):
    client.force_login(ada)
    urls = [reverse("catalog:index"), reverse("catalog:detail", args=["smollm2-135m-instruct"])]
    make_deployment("d")
    few = [count_queries(client, url) for url in urls]
    CatalogModel.objects.bulk_create(CatalogModel(name=f"m{n}", slug=f"m{n}") for n in range(30))
    for number in range(20):
        make_deployment(f"d{number}")
    assert [count_queries(client, url) for url in urls] == few
