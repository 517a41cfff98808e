"""A thousand rows of everything: as many queries as for ten."""

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.parts import figures
from webapp.accounts.models import ApiKey, Membership, Team, User
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel
from webapp.deployments.models import Deployment, LogChunk, Replica, ReplicaEvent
from webapp.inventory.models import Accelerator, Host, HostEvent
from webapp.jobs.models import Job

# Enough of a header for the fit panel to calculate.
FACTS = {"architecture": "llama", "layers": 2, "heads": 2, "embedding_length": 64, "weights_bytes": 1 << 20}
PAGES = [
    "/",
    "/deployments/",
    "/deployments/?q=d5&sort=-name",
    "/models/",
    "/models/?sort=-size",
    "/models/m1/",
    "/models/import/",
    "/models/disk/",
    "/deployments/new/?artifact=1",
    "/deployments/1/edit/",
    "/deployments/1/",
    "/jobs/",
    "/jobs/?sort=host",
    "/hosts/",
    "/hosts/?sort=-memory",
    "/hosts/1/",
    "/keys/",
    "/keys/?sort=used",
    "/search/?q=d",
    "/playground/",
    "/settings/engines/",
    "/settings/master-key/",
    "/api/v1/deployments",
    "/api/v1/jobs",
    "/api/v1/hosts",
    "/api/v1/artifacts",
    "/api/v1/keys",
]


def fill(number, owner, team):
    """Bring every kind to `number` rows, wholly visible to the owner; those that PAGES name have numbers from 1."""
    start = Deployment.objects.count()
    span = range(start, number)
    hosts = Host.objects.bulk_create(
        Host(pk=n + 1, name=f"h{n}", endpoint=f"unix:///h{n}", state="online", usable_bytes=1, facts={"os": "x"})
        for n in span
    )
    Accelerator.objects.bulk_create(Accelerator(host=host, index=0, uuid=f"g{host.pk}") for host in hosts)
    models = CatalogModel.objects.bulk_create(CatalogModel(name=f"d model {n}", slug=f"m{n}") for n in span)
    artifacts = Artifact.objects.bulk_create(
        Artifact(
            pk=n + 1, catalog_model=model, format="gguf", main_file=f"{model.slug}.gguf", size_bytes=5, facts=FACTS
        )
        for n, model in zip(span, models, strict=True)
    )
    ArtifactCopy.objects.bulk_create(
        ArtifactCopy(artifact=artifact, host=host, state="present")
        for artifact, host in zip(artifacts, hosts, strict=True)
    )
    rows = Deployment.objects.bulk_create(
        Deployment(pk=n + 1, team=team, name=f"d{n}", artifact=artifact, engine="llamacpp")
        for n, artifact in zip(span, artifacts, strict=True)
    )
    Replica.objects.bulk_create(
        Replica(deployment=row, number=1, state="failed", reason="It died.", host_id=1, image="i") for row in rows
    )
    ReplicaEvent.objects.bulk_create(ReplicaEvent(deployment=rows[0], text="x") for _n in span)
    HostEvent.objects.bulk_create(HostEvent(host_id=1, text="x") for _n in span)
    Job.objects.bulk_create(
        Job(kind="fetch", team=team, requested_by=owner, host_id=1, artifact=artifact,
            state="failed" if n % 2 else "running", ended_at=timezone.now())
        for n, artifact in zip(span, artifacts, strict=True)
    )  # fmt: skip
    ApiKey.objects.bulk_create(ApiKey(user=owner, team=team, name=f"d{n}", prefix="my_x", digest=f"{n}") for n in span)
    teams = Team.objects.bulk_create(Team(name=f"t{n}", slug=f"t{n}") for n in span)
    people = User.objects.bulk_create(User(username=f"p{n}") for n in span)
    Membership.objects.bulk_create(Membership(user=person, team=team) for person in people)
    assert LogChunk.objects.count() == 0 and len(teams) == len(people)
    if connection.vendor == "postgresql":
        # What its autovacuum does within a minute. The figures it has are of other tests' rows, all gone.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


@pytest.fixture
def client_of_root(client, root, team, monkeypatch):
    # A setting that is read again every few seconds would be counted on one page and not on another.
    monkeypatch.setattr("webapp.accounts.sign_in.REMEMBERED_S", float("inf"))
    Membership.objects.create(user=root, team=team, role="admin")
    client.force_login(root)
    return client


def look(client, url):
    """How many queries the page costs, and the seconds of the faster of two looks."""
    began = time.process_time()
    client.get(url)
    first_s = time.process_time() - began
    with CaptureQueriesContext(connection) as captured:
        began = time.process_time()
        assert client.get(url).status_code == 200, url
        second_s = time.process_time() - began
    return len(captured), min(first_s, second_s)


def test_a_thousand_rows_cost_the_queries_of_ten(client_of_root, root, team):
    fill(60, root, team)  # more than a page of 25
    few = {url: look(client_of_root, url)[0] for url in PAGES}
    fill(1000, root, team)
    looks = {url: look(client_of_root, url) for url in PAGES}
    many = {url: queries for url, (queries, _seconds) in looks.items()}
    print(
        "\n" + "\n".join(f"{took * 1000:6.0f} ms  {queries:3} queries  {url}" for url, (queries, took) in looks.items())
    )
    slowest_s = max(took for _queries, took in looks.values())
    figures.tell("slowest list page with 1,000 rows: server time", slowest_s * 1000, 300, "ms")
    assert many == few
