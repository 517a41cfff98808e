"""Pages of hosts: what is on them, who holds their memory, and who may drain them."""

import pytest
from django.urls import reverse

from tests.browser.markup import faults
from webapp.deployments.models import Replica
from webapp.inventory import services
from webapp.inventory.models import Host

GIB = 1024**3


@pytest.fixture
def held(host, deployment):
    """ada's replica holds 12 GiB of memory and 6 GiB of the first GPU."""
    replica = deployment.replicas.get()
    services.reserve(replica.reservation_owner, host.pk, 12 * GIB, {host.accelerators.first().pk: 6 * GIB})
    Replica.objects.filter(pk=replica.pk).update(host=host)
    return replica


@pytest.mark.parametrize("person", ["ada", "bob"])
def test_the_team_sees_by_name_who_holds_the_memory(client, request, host, held, person):
    client.force_login(request.getfixturevalue(person))
    text = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "smollm2 #1" in text
    assert "12.0 GiB reserved" in text
    assert "6.0 GiB reserved" in text


def test_a_stranger_sees_that_memory_is_held_but_not_by_whom(client, eve, host, held):
    client.force_login(eve)
    text = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "smollm2" not in text
    assert "somebody else&#x27;s" in text
    assert "No replicas of your teams." in text


@pytest.mark.parametrize("person", ["ada", "bob", "eve"])
def test_only_the_admin_drains_a_host(client, request, host, person):
    client.force_login(request.getfixturevalue(person))
    assert "Drain" not in client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    reply = client.post(reverse("inventory:drain", args=[host.pk]), {"drained": "1"})
    assert reply.status_code == 403
    assert "Only an admin" in reply.content.decode()
    host.refresh_from_db()
    assert not host.is_drained


def test_only_the_admin_accepts_another_engine(client, ada, root, host):
    services.record_lost(host.pk, "Another Docker engine answers here.")
    url = reverse("inventory:accept", args=[host.pk])
    client.force_login(ada)
    assert client.post(url).status_code == 403
    client.force_login(root)
    assert "Accept new Docker engine" in client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    client.post(url)
    host.refresh_from_db()
    assert host.daemon_id == ""


def test_the_admin_drains_it_and_takes_that_back(client, root, host):
    client.force_login(root)
    url = reverse("inventory:drain", args=[host.pk])
    text = client.post(url, {"drained": "1"}, headers={"HX-Request": "true"}).content.decode()
    assert "drained" in text
    host.refresh_from_db()
    assert host.is_drained
    client.post(url, {"drained": "0"})
    host.refresh_from_db()
    assert not host.is_drained


def test_a_host_that_is_not_there_is_a_404(client, ada):
    client.force_login(ada)
    assert client.get(reverse("inventory:detail", args=[99])).status_code == 404


def test_an_unreachable_host_says_why(client, ada, host):
    services.record_lost(host.pk, "connection refused")
    client.force_login(ada)
    for url in (reverse("inventory:index"), reverse("inventory:detail", args=[host.pk]), reverse("dashboard:home")):
        assert "connection refused" in client.get(url).content.decode()


def test_the_list_costs_the_same_queries_for_one_and_for_thirty(client, ada, host, count_queries):
    client.force_login(ada)
    url = reverse("inventory:index")
    few = count_queries(client, url)
    Host.objects.bulk_create(Host(name=f"h{number}", endpoint=f"unix:///h{number}") for number in range(30))
    assert count_queries(client, url) == few


def test_facts_are_told_in_words_and_what_is_the_programs_own_is_not(client, ada, host):
    Host.objects.filter(pk=host.pk).update(facts={"ServerVersion": "28.2", "accelerators_at": 1795382887.9})
    client.force_login(ada)
    text = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "<dt>Docker</dt><dd>28.2</dd>" in text
    assert "1795382887" not in text


def test_the_page_names_the_processors_and_what_they_can_do(client, ada, host):
    client.force_login(ada)
    page = reverse("inventory:detail", args=[host.pk])
    assert "not known yet" in client.get(page).content.decode()
    flags = ["sse2", "avx2", "f16c", "clflush"]
    Host.objects.filter(pk=host.pk).update(facts={**host.facts, "processor": {"name": "EPYC <7543>", "flags": flags}})
    text = client.get(page).content.decode()
    assert "16 × EPYC &lt;7543&gt;" in text and "AVX2, F16C" in text
    assert "<summary>All flags</summary>" in text and "avx2 clflush f16c sse2" in " ".join(text.split())
    assert faults(text) == []


def test_the_api_tells_what_the_processors_can_do(client, ada, team, host):
    from webapp.accounts import keys

    _key, secret = keys.create_key(ada, team, "program")
    ask = lambda: client.get(f"/api/v1/hosts/{host.pk}", headers={"X-API-Key": secret}).json()  # noqa: E731
    assert (ask()["cpu_name"], ask()["cpu_features"], ask()["cpu_flags"]) == ("", [], [])
    stored = {"name": "EPYC", "flags": ["sse2", "avx512f", "avx2"]}
    Host.objects.filter(pk=host.pk).update(facts={"processor": stored})
    said = ask()
    assert (said["cpu_name"], said["cpu_features"]) == ("EPYC", ["AVX2", "AVX-512"])
    assert said["cpu_flags"] == ["avx2", "avx512f", "sse2"]


@pytest.mark.parametrize(("person", "status"), [("root", 204), ("ada", 403)])
def test_the_hold_is_ended_by_the_api_as_by_the_page(client, request, host, team, person, status):
    from webapp.accounts.models import AuditEntry
    from webapp.inventory import services

    row = services.installation()
    type(row).objects.update(is_on_hold=True)
    client.force_login(request.getfixturevalue(person))
    assert client.get("/api/v1/hold").json() == {"is_on_hold": True}
    assert client.delete("/api/v1/hold").status_code == status
    assert services.is_on_hold() == (status == 403)
    assert AuditEntry.objects.filter(verb="installation.release_hold").count() == (status == 204)


@pytest.mark.parametrize(("person", "status"), [("root", 202), ("ada", 403)])
def test_another_engine_is_accepted_by_the_api_as_by_the_page(client, request, host, team, person, status):
    from webapp.accounts.models import AuditEntry

    type(host).objects.update(daemon_id="old")
    client.force_login(request.getfixturevalue(person))
    assert client.post(f"/api/v1/hosts/{host.pk}/accept-engine").status_code == status
    host.refresh_from_db()
    assert host.daemon_id == ("old" if status == 403 else "")
    assert AuditEntry.objects.filter(verb="host.accept_engine").count() == (status == 202)


def test_a_host_that_answers_and_cannot_do_what_is_asked_is_called_the_same_on_every_page(client, root, host):
    client.force_login(root)
    pages = [reverse("inventory:index"), reverse("inventory:detail", args=[host.pk]), reverse("dashboard:home")]
    Host.objects.filter(pk=host.pk).update(state="online", reason="")
    assert not any("degraded" in client.get(page).content.decode() for page in pages)
    Host.objects.filter(pk=host.pk).update(reason="The list of containers could not be read.")
    assert all("degraded" in client.get(page).content.decode() for page in pages)
