"""Many at once: exactly one wins, and what is reserved adds up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.db.models import Sum

from webapp.deployments import lifecycle
from webapp.deployments.models import Replica, ReplicaEvent
from webapp.deployments.states import ReplicaState
from webapp.inventory import services
from webapp.inventory.models import Accelerator, EngineAddress, Host, Reservation
from webapp.inventory.services import GIB, NotEnoughMemory

pytestmark = pytest.mark.django_db(transaction=True)

RACERS = 8


def race(run, racers=RACERS):
    """Call run(n) in as many threads at the same moment; the results in order."""
    gate = threading.Barrier(racers)

    def one(number):
        try:
            gate.wait()
            return run(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(one, range(racers)))


@pytest.mark.parametrize(
    ("racers", "rounds"), [(RACERS, 5), pytest.param(32, 100, marks=pytest.mark.slow, id="for-long")]
)
def test_one_free_gpu_is_reserved_by_exactly_one_of_many(host, racers, rounds):
    gpu = Accelerator.objects.filter(host=host).first()

    def reserve(number):
        try:
            services.reserve(f"replica:{number}", host.pk, GIB, {gpu.pk: 20 * GIB})
        except NotEnoughMemory:
            return False
        return True

    for _ in range(rounds):
        assert sum(race(reserve, racers)) == 1
        assert Accelerator.objects.get(pk=gpu.pk).reserved_bytes == 20 * GIB
        assert Host.objects.get(pk=host.pk).reserved_bytes == GIB
        (winner,) = set(Reservation.objects.values_list("owner", flat=True))
        assert Reservation.objects.count() == 2
        services.release(winner)


def test_what_is_reserved_is_the_sum_of_the_reservations(host):
    def reserve_and_release(number):
        services.reserve(f"replica:{number}", host.pk, GIB)
        if number % 2:
            services.release(f"replica:{number}")

    race(reserve_and_release)
    total = Reservation.objects.aggregate(total=Sum("size_bytes"))["total"]
    assert Host.objects.get(pk=host.pk).reserved_bytes == total == RACERS // 2 * GIB


def test_every_racer_gets_another_address(host):
    addresses = race(lambda number: services.reserve_address(f"replica:{number}", host))
    assert len(set(addresses)) == RACERS == EngineAddress.objects.count()


def test_a_row_is_claimed_by_exactly_one_of_many(deployment):
    replica = deployment.replicas.get()
    claims = race(lambda _number: lifecycle.REPLICA.claim(replica.pk))
    assert sum(claim is not None for claim in claims) == 1


def test_a_move_is_made_by_exactly_one_of_many_and_written_once(deployment):
    replica = deployment.replicas.get()

    def move(_number):
        mine = Replica.objects.select_related("deployment").get(pk=replica.pk)
        return lifecycle.move(mine, ReplicaState.PENDING, ReplicaState.PLACING, lifecycle.Reason("", "placing"))

    assert sum(race(move)) == 1
    assert ReplicaEvent.objects.filter(new_state="placing").count() == 1
