"""The memory ledger and the addresses."""

import uuid

import pytest
from django.db import IntegrityError, transaction

from webapp.foundation.errors import Conflict, Invalid
from webapp.inventory import services
from webapp.inventory.models import Accelerator, Host, Installation, Reservation
from webapp.inventory.services import GIB, MIB, AcceleratorFacts, HostFacts, NotEnoughMemory

pytestmark = pytest.mark.django_db


def facts(memory_bytes=16 * GIB, accelerators=()):
    return HostFacts(daemon_id="daemon-1", cpu_count=4, memory_bytes=memory_bytes, accelerators=tuple(accelerators))


GPU = AcceleratorFacts(index=0, uuid="GPU-1", vendor="nvidia", name="NVIDIA L4", memory_bytes=24 * GIB)


def test_what_is_reserved_is_given_back(host):
    before = Host.objects.get(pk=host.pk).reserved_bytes
    services.reserve("replica:1", host.pk, 100 * MIB)
    services.reserve("replica:1", host.pk, 100 * MIB)
    assert Host.objects.get(pk=host.pk).reserved_bytes == before + 100 * MIB
    services.release("replica:1")
    services.release("replica:1")
    assert Host.objects.get(pk=host.pk).reserved_bytes == before
    assert not Reservation.objects.filter(owner="replica:1").exists()


def test_a_gpu_that_is_full_leaves_the_host_memory_alone(host):
    gpu = Accelerator.objects.filter(host=host).first()
    services.reserve("replica:1", host.pk, GIB, {gpu.pk: 20 * GIB})
    with pytest.raises(NotEnoughMemory):
        services.reserve("replica:2", host.pk, GIB, {gpu.pk: 6 * GIB})
    assert Host.objects.get(pk=host.pk).reserved_bytes == GIB
    assert not Reservation.objects.filter(owner="replica:2").exists()


def test_the_database_itself_refuses_more_than_there_is(host):
    with pytest.raises(IntegrityError, match="host_memory_not_overcommitted"), transaction.atomic():
        Host.objects.filter(pk=host.pk).update(reserved_bytes=host.usable_bytes + 1)


def test_a_host_that_shrank_keeps_what_is_reserved(host):
    services.reserve("replica:1", host.pk, 4 * GIB)
    services.record_facts(host.pk, facts(memory_bytes=2 * GIB))
    shrunk = Host.objects.get(pk=host.pk)
    assert shrunk.usable_bytes == shrunk.reserved_bytes == 4 * GIB
    with pytest.raises(NotEnoughMemory):
        services.reserve("replica:2", host.pk, MIB)


def test_a_gpu_that_vanished_is_kept_but_no_longer_present(host):
    services.record_facts(host.pk, facts(accelerators=[GPU]))
    assert list(Accelerator.objects.filter(host=host, is_present=True).values_list("uuid", flat=True)) == ["GPU-1"]
    assert Accelerator.objects.filter(host=host).count() == 2


def test_every_replica_gets_its_own_address_and_keeps_it(host):
    services.record_engine_network(host.pk, "modelyard-engines", "172.30.240.0/29")
    host.refresh_from_db()
    addresses = [services.reserve_address(f"replica:{n}", host) for n in range(4)]
    assert len(set(addresses)) == 4
    assert services.reserve_address("replica:0", host) == addresses[0]
    with pytest.raises(Conflict, match=r"All addresses of 172\.30\.240\.0/29"):
        services.reserve_address("replica:9", host)
    services.release("replica:2")
    assert services.reserve_address("replica:9", host) == addresses[2]


@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.1:2375", "http://x", "", "unix://relative"])
def test_an_endpoint_that_cannot_be_trusted_is_refused(endpoint):
    with pytest.raises(Invalid):
        services.register_host(None, "other", endpoint)
    assert not Host.objects.filter(name="other").exists()


def test_registering_a_host_again_finds_it(host):
    assert services.register_host(None, "again", host.endpoint).pk == host.pk


def test_a_new_database_takes_over_the_engines_installation_and_holds_its_containers():
    Installation.objects.all().delete()
    found = uuid.uuid4()
    assert services.adopt_installation(found, hold=True).pk == found
    assert services.installation().is_on_hold
    with pytest.raises(Conflict, match="belongs to the Modelyard installation"):
        services.adopt_installation(uuid.uuid4(), hold=True)
    assert services.adopt_installation(None, hold=False).pk == found


def test_the_hold_ends_when_an_admin_lets_go(client, ada, root, host):
    Installation.objects.update_or_create(only=True, defaults={"is_on_hold": True})
    address = f"/hosts/{host.pk}/release-hold/"
    client.force_login(ada)
    assert client.post(address).status_code == 403
    assert services.is_on_hold()
    client.force_login(root)
    assert "Unmanaged containers" in client.get("/").content.decode()
    assert client.post(address, follow=True).status_code == 200
    assert not services.is_on_hold()
    assert "Unmanaged containers" not in client.get("/").content.decode()


def test_an_owner_reserves_a_memory_once_even_past_the_service(host):
    services.reserve("replica:1", host.pk, MIB)
    with pytest.raises(IntegrityError), transaction.atomic():
        Reservation.objects.create(owner="replica:1", host=host, accelerator=None, size_bytes=MIB)
