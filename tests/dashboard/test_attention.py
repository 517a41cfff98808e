"""The list that home begins with: what wants a person, why, and where to go."""

from datetime import timedelta

import pytest
from django.utils import timezone

from webapp.interfaces.pages.dashboard import attention
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.jobs.models import Job


def words(user):
    return [(each.word, each.title) for each in attention.concerns(user)]


def test_an_unreachable_host_and_a_full_disk_are_named(ada, host, deployment):
    Host.objects.filter(pk=host.pk).update(disk_free_bytes=1)
    inventory.record_lost(host.pk, "connection refused")
    assert words(ada)[:2] == [("unreachable", "local"), ("disk nearly full", "Disk of local")]


def test_a_crash_loop_says_how_often(ada, deployment, advance):
    replica = advance(deployment.replicas.get(), "placing", "failed", text="It died.", crash_count=4)
    type(replica).objects.filter(pk=replica.pk).update(next_due_at=timezone.now())
    [concern] = [each for each in attention.concerns(ada) if each.title == "smollm2 #1"]
    assert concern.word == "restarting"
    assert concern.reason == "Crashed 4 times. It died."


def test_a_failed_job_is_news_for_a_day(ada, team, host, deployment):
    old = timezone.now() - timedelta(days=2)
    Job.objects.create(kind="fetch", team=team, host=host, state="failed", ended_at=old)
    new = Job.objects.create(kind="fetch", team=team, host=host, state="failed", ended_at=timezone.now())
    assert [title for word, title in words(ada) if word == "failed"] == [f"Fetch job {new.pk}"]


@pytest.mark.parametrize(("person", "sees"), [("root", True), ("ada", False)])
def test_containers_on_hold_are_for_who_may_let_go(request, host, deployment, person, sees):
    row = inventory.installation()
    type(row).objects.update(is_on_hold=True)
    assert (("on hold", "Unknown containers") in words(request.getfixturevalue(person))) is sees


def test_a_new_installation_is_led_one_step_at_a_time(root, team):
    from webapp.accounts import services as accounts
    from webapp.catalog.models import Artifact

    assert words(root) == [("to do", "No host")]
    host = inventory.register_host(None, "local", "unix:///var/run/docker.sock")
    inventory.record_facts(host.pk, inventory.HostFacts("d", 4, 8 * 1024**3))
    assert words(root) == [("to do", "No model")]
    from webapp.catalog.models import ArtifactCopy, CatalogModel

    model = CatalogModel.objects.create(name="m", slug="m")
    artifact = Artifact.objects.create(catalog_model=model, format="gguf", main_file="m.gguf")
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present")
    assert words(root) == [("to do", "No deployment")]
    from webapp.deployments import services as deployments

    deployments.create(root, team, deployments.DeploymentSpec(name="m", artifact=artifact))
    assert words(root) == [("to do", "No API key")]
    accounts.create_key(root, team, "k")
    assert words(root) == []


def test_every_concern_leads_to_a_page_that_is_there(client, ada, host, deployment, advance):
    advance(deployment.replicas.get(), "placing", "failed", text="It died.")
    Host.objects.filter(pk=host.pk).update(disk_free_bytes=1)
    client.force_login(ada)
    for concern in attention.concerns(ada):
        assert client.get(concern.url).status_code == 200


def test_home_shows_the_last_hour_where_usage_tells_it(client, ada, deployment, monkeypatch):
    from types import SimpleNamespace

    from webapp.usage import services as usage

    rates = SimpleNamespace(requests_per_min=12.5, tokens_per_min=3400, ttft_ms_p50=87.4, failed=2)
    monkeypatch.setattr(usage, "last_hour", lambda user: {deployment.pk: rates}, raising=False)
    client.force_login(ada)
    text = client.get("/").content.decode()
    assert "over the last hour" in text
    for shown in (">12<", ">3,400<", ">87<", ">2<"):
        assert shown in text
