"""The soak's checker is itself checked: each break is planted and found; a sound installation has none."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.parts import invariants

GIB = 1024**3


@pytest.fixture
def ready(deployment: Any, host: Any) -> Any:
    """A replica that went the whole way and is proven."""
    from webapp.deployments.models import Replica, ReplicaEvent

    replica = deployment.replicas.get()
    deployment.events.all().delete()
    walk = ["pending", "placing", "starting", "loading", "ready"]
    for old, new in itertools.pairwise(walk):
        ReplicaEvent.objects.create(deployment=deployment, replica_ordinal=replica.number, old_state=old, new_state=new)
    Replica.objects.filter(pk=replica.pk).update(
        state="ready", host=host, ready_at=timezone.now(), proven_at=timezone.now()
    )
    replica.refresh_from_db()
    return replica


def test_a_sound_installation_has_no_break(ready: Any) -> None:
    assert invariants.breaks([]) == []


def move_without_a_word(replica: Any) -> None:
    type(replica).objects.filter(pk=replica.pk).update(state="failed")


def make_a_move_that_is_none(replica: Any) -> None:
    replica.deployment.events.create(replica_ordinal=replica.number, old_state="ready", new_state="placing")
    type(replica).objects.filter(pk=replica.pk).update(state="placing")


def leave_a_gap_in_the_history(replica: Any) -> None:
    replica.deployment.events.filter(new_state="starting").delete()


def reserve_without_a_reservation(replica: Any) -> None:
    type(replica.host).objects.filter(pk=replica.host_id).update(reserved_bytes=GIB)


def take_a_gpus_reservation_away(replica: Any) -> None:
    from webapp.inventory import services

    gpu = replica.host.accelerators.first()
    services.reserve(replica.reservation_owner, replica.host_id, GIB, {gpu.pk: GIB})
    gpu.reservations.all().delete()


def reserve_for_nobody(replica: Any) -> None:
    from webapp.inventory import services

    services.reserve("replica:4711", replica.host_id, GIB)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (move_without_a_word, "is failed, and its history ends at ready"),
        (make_a_move_that_is_none, "went from ready to placing, which is no move"),
        (leave_a_gap_in_the_history, "without a word"),
        (reserve_without_a_reservation, "bytes are reserved, and the reservations are of 0"),
        (reserve_for_nobody, "replica:4711 holds something"),
        (take_a_gpus_reservation_away, "bytes are reserved, and the reservations are of 0"),
    ],
)
def test_a_planted_break_is_found(ready: Any, plant: Callable[[Any], None], words: str) -> None:
    plant(ready)
    (found,) = invariants.breaks([])
    assert words in found


def test_the_oldest_proof_is_told(ready: Any) -> None:
    assert 0 <= invariants.oldest_proof_s() < 40
    type(ready).objects.filter(pk=ready.pk).update(proven_at=timezone.now() - timedelta(seconds=46))
    assert invariants.oldest_proof_s() >= 46
    type(ready).objects.filter(pk=ready.pk).update(proven_at=None)
    with pytest.raises(AssertionError, match="ready without a proof"):
        invariants.oldest_proof_s()


def test_a_request_without_a_record_and_one_with_two_are_found(ready: Any) -> None:
    import uuid

    from webapp.usage.models import UsageRecord

    def record(request_id: str) -> None:
        UsageRecord.objects.create(
            id=uuid.uuid4(), at=timezone.now(), endpoint="chat/completions", request_id=request_id, status=200,
            outcome="ok",
        )  # fmt: skip

    for request_id in ("one", "twice", "twice", "cut", "cut"):
        record(request_id)
    assert invariants.outcomes(["one", "twice", "none"], ["cut", "nowhere"]) == [
        "request twice has 2 records",
        "request none has 0 records",
        "request cut has 2 records",
    ]


@pytest.fixture
def client(engine: Any) -> Iterator[Any]:
    with contextlib.closing(engine.client()) as client:
        yield client


def run(client: Any, replica: int) -> None:
    from workers.runtime.base import LABEL_ID, LABEL_KIND

    labels = {LABEL_KIND: "replica", LABEL_ID: str(replica)}
    box = client.create_container("modelyard-test/engine:1", labels=labels)
    client.start(box["Id"])


@pytest.mark.docker
def test_containers_too_many_and_left_behind_are_found(transactional_db: None, ready: Any, client: Any) -> None:
    run(client, ready.pk)
    assert invariants.breaks([client]) == []
    run(client, ready.pk)
    run(client, ready.pk + 1)
    assert invariants.breaks([client]) == [
        f"replica {ready.pk} has 2 running containers",
        f"replica {ready.pk + 1} is gone, and its container runs",
    ]
