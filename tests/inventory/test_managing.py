"""What an admin changes about a host, and which teams may use it."""

from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils.html import escape

from webapp.accounts.models import AuditEntry
from webapp.deployments.fleet import Fleet
from webapp.foundation.errors import Invalid, NotAllowed
from webapp.inventory import services
from webapp.inventory.managing import HostChange, change_host, hosts_for
from webapp.inventory.models import NO_NETWORK, OPEN_FACT, Host

GIB = 1024**3


@pytest.fixture
def restricted(root, host, team):
    """A host that only ada's team may use."""
    return change_host(root, host, HostChange(is_shared=False, teams=[team]))


@pytest.mark.parametrize("person", ["ada", "bob", "eve"])
def test_only_the_installations_admin_changes_a_host(request, client, host, person):
    user = request.getfixturevalue(person)
    with pytest.raises(NotAllowed):
        change_host(user, host, HostChange(labels=["x"]))
    client.force_login(user)
    url = reverse("inventory:edit", args=[host.pk])
    assert client.get(url).status_code == client.post(url, {"labels": "x"}).status_code == 403
    assert client.patch(f"/api/v1/hosts/{host.pk}", {"labels": ["x"]}, "application/json").status_code == 403
    host.refresh_from_db()
    assert host.labels == []


def test_a_change_is_audited_and_is_one_event(root, host):
    change = HostChange(labels=[" rack-3 ", "", "rack-3"], price_per_hour=Decimal("1.20"))
    for _twice in range(2):
        change_host(root, host, change)
    host.refresh_from_db()
    assert (host.labels, host.price_per_hour) == (["rack-3"], Decimal("1.20"))
    assert host.events.first().text == "labels: rack-3; price per hour: 1.2"
    assert host.events.first().actor == "root"
    assert AuditEntry.objects.filter(verb="host.change").count() == 1


def test_a_label_that_was_there_before_the_rule_stays_until_it_is_taken_away(root, host):
    Host.objects.update(labels=["Room 5"])
    host.refresh_from_db()
    change_host(root, host, HostChange(labels=["Room 5", "gpu=a100"]))
    host.refresh_from_db()
    assert host.labels == ["Room 5", "gpu=a100"]
    change_host(root, host, HostChange(labels=["gpu=a100"]))
    host.refresh_from_db()
    with pytest.raises(Invalid, match="'Room 5' is no label"):
        change_host(root, host, HostChange(labels=["Room 5"]))


def test_the_reserve_decides_what_may_be_reserved(root, host):
    change_host(root, host, HostChange(system_reserved_bytes=20 * GIB))
    host.refresh_from_db()
    assert host.usable_bytes == 44 * GIB
    facts = services.HostFacts("daemon-1", 16, 64 * GIB, accelerators=None)
    services.record_facts(host.pk, facts)
    host.refresh_from_db()
    assert host.usable_bytes == 44 * GIB, "the next look at the machine must not forget it"
    change_host(root, host, HostChange(system_reserved_bytes=None))
    host.refresh_from_db()
    assert host.usable_bytes == 64 * GIB - services.system_reserve_bytes(64 * GIB)


def test_what_is_reserved_stays_reserved_when_the_reserve_grows(root, host):
    services.reserve("replica:1", host.pk, 30 * GIB)
    change_host(root, host, HostChange(system_reserved_bytes=60 * GIB))
    host.refresh_from_db()
    assert host.usable_bytes == host.reserved_bytes == 30 * GIB


@pytest.mark.parametrize(
    "change",
    [
        HostChange(system_reserved_bytes=65 * GIB),
        HostChange(price_per_hour=Decimal(1_000_000)),
        HostChange(labels=["x" * 64]),
        HostChange(labels=["Rack 3"]),
        HostChange(labels=["gpu="]),
        HostChange(labels=[f"l{number}" for number in range(21)]),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(root, host, change):
    with pytest.raises(Invalid) as refusal:
        change_host(root, host, change)
    assert refusal.value.fields
    assert Host.objects.get().labels == []


def test_a_restricted_host_is_open_to_its_teams_alone(restricted, team, eve):
    assert list(hosts_for(team)) == [restricted]
    assert not hosts_for(eve.teams.get()).exists()
    assert hosts_for(None).exists()


@pytest.mark.parametrize(("person", "sees"), [("ada", True), ("bob", True), ("root", True), ("eve", False)])
def test_a_restricted_host_is_seen_by_its_teams_alone(client, request, restricted, artifact, person, sees):
    Host.objects.update(name="cellar-9")
    client.force_login(request.getfixturevalue(person))
    status = 200 if sees else 404
    assert client.get(reverse("inventory:detail", args=[restricted.pk])).status_code == status
    assert client.get(f"/api/v1/hosts/{restricted.pk}").status_code == status
    assert client.get(f"/api/v1/hosts/{restricted.pk}/events").status_code == status
    assert client.get("/api/v1/hosts").json()["count"] == int(sees)
    for url in ("/", "/hosts/", "/search/?q=cellar", "/deployments/new/"):
        assert (b"cellar-9" in client.get(url).content) is sees, url


def test_placement_keeps_to_the_hosts_of_the_team(restricted, artifact, team, eve):
    assert [host.pk for host, _offer in Fleet.for_files(artifact, team=team).pairs] == [restricted.pk]
    assert Fleet.for_files(artifact, team=eve.teams.get()).pairs == ()


def test_a_stranger_cannot_pin_a_restricted_host(client, eve, restricted, artifact):
    client.force_login(eve)
    body = {"name": "sneaky", "artifact": artifact.pk, "host": restricted.pk}
    assert client.post("/api/v1/deployments", body, "application/json").status_code == 404


def test_a_grant_that_is_taken_back_closes_the_host(root, restricted, team):
    change_host(root, restricted, HostChange(teams=[]))
    assert not hosts_for(team).exists()
    change_host(root, restricted, HostChange(is_shared=True))
    assert hosts_for(team).exists()


def test_the_form_shows_what_is_and_keeps_what_was_typed(client, root, restricted, team):
    client.force_login(root)
    url = reverse("inventory:edit", args=[restricted.pk])
    assert "checked" in client.get(url).content.decode()
    typed = {"labels": "rack-9", "system_reserved_gib": "900", "price_per_hour": "0.8"}
    reply = client.post(url, typed)
    assert reply.status_code == 422
    text = reply.content.decode()
    assert "Reserve between 0 and the 64.0 GiB" in text and 'value="rack-9"' in text
    reply = client.post(url, {**typed, "system_reserved_gib": "1.5", "teams": [team.pk]})
    assert reply.status_code == 302
    restricted.refresh_from_db()
    assert restricted.system_reserved_bytes == int(1.5 * GIB)
    assert (restricted.labels, restricted.is_shared) == (["rack-9"], False)


def test_the_api_changes_only_what_is_sent(client, root, restricted, team):
    client.force_login(root)
    url = f"/api/v1/hosts/{restricted.pk}"
    said = client.patch(url, {"price_per_hour": "0.5"}, "application/json").json()
    assert said["teams"] == [team.slug] and said["is_shared"] is False
    assert Decimal(said["price_per_hour"]) == Decimal("0.5")
    said = client.patch(url, {"price_per_hour": None, "is_drained": True}, "application/json").json()
    assert said["price_per_hour"] is None and said["is_drained"] is True
    for wrong in ({"teams": ["nobody"]}, {"labels": None}, {"price_per_hour": "-1"}):
        assert client.patch(url, wrong, "application/json").status_code == 422
    events = client.get(f"{url}/events").json()["items"]
    assert events[0]["text"].startswith("drained: yes") and events[0]["actor"] == "root"


def test_the_events_tell_when_a_host_was_lost_and_came_back(host):
    services.record_lost(host.pk, "connection refused")
    services.record_lost(host.pk, "connection refused")
    services.record_facts(host.pk, services.HostFacts("daemon-1", 16, 64 * services.GIB, accelerators=None))
    back, lost = [entry.text for entry in host.events.all()][:2]
    assert (back, lost) == ("answers: 16 CPUs, 64.0 GiB of memory", "unreachable: connection refused")


def test_the_page_says_what_a_drain_means(client, root, host):
    client.force_login(root)
    text = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "replicas here keep running" in text
    client.post(reverse("inventory:drain", args=[host.pk]), {"drained": "1"})
    assert "nothing new is placed here" in client.get(reverse("inventory:detail", args=[host.pk])).content.decode()


WHY = "Its containers do not share this machine's kernel."


def test_page_list_and_api_say_where_engines_have_a_network_and_why(client, root, host):
    Host.objects.filter(pk=host.pk).update(facts={OPEN_FACT: WHY})
    client.force_login(root)
    page = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "every user of the host reaches them without a key" in page and escape(WHY) in page
    assert f'title="{escape(WHY)}"' in client.get(reverse("inventory:index")).content.decode()
    said = client.get(f"/api/v1/hosts/{host.pk}").json()
    assert (said["isolation"], said["open_because"]) == ("open", WHY)


def test_page_list_and_api_say_where_engines_have_none(client, root, host):
    services.record_engine_network(host.pk, NO_NETWORK, host.engine_subnet)
    client.force_login(root)
    page = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "Engines here have no network" in page
    assert "Those that were started before this applied keep the internal network" in page
    assert "engines that are started here have no network" in page, "the events say when"
    services.record_engine_network(host.pk, NO_NETWORK, "")
    page = client.get(reverse("inventory:detail", args=[host.pk])).content.decode()
    assert "keep the internal network" not in page and "Engine network" not in page
    said = client.get(f"/api/v1/hosts/{host.pk}").json()
    assert (said["isolation"], said["open_because"]) == ("closed", "")


def test_a_host_that_becomes_open_says_so_in_its_events(host):
    services.record_engine_network(host.pk, NO_NETWORK, "")
    Host.objects.filter(pk=host.pk).update(facts={OPEN_FACT: WHY})
    for _look in range(2):
        services.record_engine_network(host.pk, "modelyard-engines", "172.31.5.0/24")
    events = [entry.text for entry in host.events.all() if "have a network" in entry.text]
    assert events == [f"engines that are started here have a network: {WHY}"]


def test_a_host_that_nobody_has_looked_at_is_neither(client, root, host):
    Host.objects.filter(pk=host.pk).update(engine_network="", engine_subnet="")
    host.refresh_from_db()
    assert (host.isolation, host.open_because, host.is_prepared) == ("", "", False)
