"""When files were last used: by a request, or by a replica that was ready with them."""

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.urls import reverse
from django.utils import timezone

from tests.usage.conftest import make_record as make_record
from webapp.catalog import services
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.usage import services as usage
from webapp.usage.models import Rollup

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now().replace(microsecond=0) - timedelta(days=40)


def last_used(artifact: Any) -> Any:
    return Artifact.objects.get(pk=artifact.pk).last_used_at


def test_a_replica_that_becomes_ready_and_one_that_ceases_to_be_use_their_files(
    deployment: Any, artifact: Any, advance: Any
) -> None:
    replica = deployment.replicas.get()
    advance(replica, "placing", "starting", "loading")
    assert last_used(artifact) is None, "loading is no use yet"
    advance(replica, "ready")
    assert last_used(artifact) is not None
    Artifact.objects.update(last_used_at=LONG_AGO)
    advance(replica, "draining")
    assert last_used(artifact) > LONG_AGO


def test_a_request_uses_the_files_of_the_revision_that_answered_it(
    deployment: Any, artifact: Any, make_record: Any
) -> None:
    spare = Artifact.objects.create(catalog_model=artifact.catalog_model, format="gguf", main_file="spare")
    replica = deployment.replicas.get()
    replica.revision = deployment.revisions.create(number=1, artifact=spare, engine="llamacpp")
    replica.save()
    usage.accept([make_record(replica_id=replica.pk, deployment=deployment.pk)])
    assert last_used(spare) is not None and last_used(artifact) is None
    usage.accept([make_record(replica_id=replica.pk, deployment=deployment.pk, outcome="upstream_error", status=502)])
    assert last_used(artifact) is None


def test_it_is_written_once_a_minute_at_most(artifact: Any, django_assert_num_queries: Any) -> None:
    services.note_use([artifact.pk])
    first = last_used(artifact)
    with django_assert_num_queries(1):
        services.note_use([artifact.pk, artifact.pk])
    assert last_used(artifact) == first
    Artifact.objects.update(last_used_at=timezone.now() - timedelta(seconds=90))
    services.note_use([artifact.pk])
    assert last_used(artifact) >= first


def test_pages_and_api_say_when_and_the_disk_page_begins_with_what_nobody_uses(
    client: Any, ada: Any, deployment: Any, artifact: Any, host: Any
) -> None:
    idle = CatalogModel.objects.create(name="Idle", slug="idle")
    small = Artifact.objects.create(catalog_model=idle, format="gguf", main_file="i", last_used_at=LONG_AGO)
    ArtifactCopy.objects.create(artifact=small, host=host, state=CopyState.PRESENT)
    client.force_login(ada)
    stamp = f'datetime="{LONG_AGO:%Y-%m-%dT%H:%M}'
    for url in (reverse("catalog:index"), reverse("catalog:detail", args=["idle"]), reverse("catalog:disk")):
        assert stamp in client.get(url).content.decode(), url
    disk = client.get(reverse("catalog:disk")).content.decode()
    assert disk.index("/models/idle/") < disk.index("/models/smollm2-135m-instruct/")
    assert "never used" in client.get(reverse("catalog:detail", args=["smollm2-135m-instruct"])).content.decode()
    names = [row["name"] for row in client.get("/api/v1/models").json()["items"] if row["last_used_at"]]
    assert names == ["Idle"]
    deployment.replicas.update(state="ready")
    assert "in use now" in client.get(reverse("catalog:detail", args=["smollm2-135m-instruct"])).content.decode()


def test_a_disk_page_of_many_files_shows_some_and_the_rest_on_asking(
    client: Any, ada: Any, artifact: Any, host: Any
) -> None:
    from webapp.inventory.models import Host

    Host.objects.create(name="other", endpoint="unix:///other.sock")
    models = CatalogModel.objects.bulk_create(CatalogModel(name=f"m{n}", slug=f"m{n}") for n in range(30))
    rows = Artifact.objects.bulk_create(Artifact(catalog_model=m, format="gguf", main_file="f") for m in models)
    ArtifactCopy.objects.bulk_create(ArtifactCopy(artifact=a, host=host, state=CopyState.PRESENT) for a in rows)
    client.force_login(ada)
    url = reverse("catalog:disk")
    assert client.get(url).content.decode().count('<td data-label="Files">') == 20
    assert client.get(url, {"q": host.name}).content.decode().count('<td data-label="Files">') == 31


def test_the_migration_takes_what_sums_and_replicas_tell(deployment: Any, artifact: Any) -> None:
    from importlib import import_module

    note = import_module("webapp.usage.migrations.0004_last_used").note
    at = timezone.now().replace(minute=0, second=0, microsecond=0)
    Rollup.objects.create(period="hour", at=at, deployment_id=deployment.pk, requests=1)
    Rollup.objects.create(period="hour", at=LONG_AGO, deployment_id=deployment.pk, requests=1)
    note(apps, None)
    assert last_used(artifact) == at
