"""The one writer of replicas' states: claims, moves, crashes, and what happens when two come at once."""

from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from webapp.control import lease
from webapp.control.moves import IllegalMove
from webapp.deployments import lifecycle
from webapp.deployments.lifecycle import Reason
from webapp.deployments.models import Replica, ReplicaEvent
from webapp.deployments.states import BACKOFF_S, MOVES, ReplicaState
from webapp.foundation import paths
from webapp.foundation.reach import Address, Reach
from webapp.inventory import services as inventory
from webapp.inventory.models import NO_NETWORK

S = ReplicaState
MIB = 1024**2


@pytest.fixture
def replica(deployment: Any) -> Replica:
    return deployment.replicas.get()


def put(replica: Replica, **columns: Any) -> Replica:
    """The row as some earlier story left it."""
    Replica.objects.filter(pk=replica.pk).update(**columns)
    replica.refresh_from_db()
    return replica


@pytest.mark.parametrize(("old", "new"), list(product(S, S)), ids=str)
def test_exactly_the_moves_of_the_table_are_made(replica: Replica, old: S, new: S) -> None:
    put(replica, state=old)
    if new in MOVES[old]:
        assert lifecycle.move(replica, old, new, Reason("code", "text"))
        assert replica.state == new
        assert ReplicaEvent.objects.filter(old_state=old, new_state=new, text="text").count() == 1
    else:
        with pytest.raises(IllegalMove, match="cannot become"):
            lifecycle.move(replica, old, new, Reason("", ""))
        assert not ReplicaEvent.objects.exists()


def test_move_tells_the_slower_worker_it_lost(replica: Replica) -> None:
    other = Replica.objects.select_related("deployment").get(pk=replica.pk)
    assert lifecycle.move(replica, S.PENDING, S.PLACING, Reason("", "first"))
    assert not lifecycle.move(other, S.PENDING, S.PLACING, Reason("", "second"))
    assert [event.text for event in ReplicaEvent.objects.all()] == ["first"]


def test_a_held_row_is_not_given_twice_and_its_holder_looks_again(replica: Replica) -> None:
    mine = lifecycle.REPLICA.claim(replica.pk)
    assert mine is not None
    assert lifecycle.REPLICA.claim(replica.pk) is None
    assert lease.release(mine, 12)  # somebody called: look again
    again = lifecycle.REPLICA.claim(replica.pk)
    assert again is not None and not lease.release(again, 12)


def test_a_worker_whose_lease_ran_out_moves_nothing(replica: Replica) -> None:
    slow = lifecycle.REPLICA.claim(replica.pk)
    assert slow is not None
    put(replica, lease_until=timezone.now() - timedelta(seconds=1))
    quick = lifecycle.REPLICA.claim(replica.pk)
    assert quick is not None
    assert lifecycle.REPLICA.reread(slow) is None
    assert not lifecycle.move(slow, S.PENDING, S.PLACING, Reason("", ""))
    assert not lease.note(slow, container_id="x")
    assert not lease.release(slow, None)
    assert lifecycle.move(quick, S.PENDING, S.PLACING, Reason("", ""))


def test_a_call_while_the_row_is_held_does_not_shorten_the_wait_after_a_crash(replica: Replica) -> None:
    put(replica, state=S.LOADING)
    mine = lifecycle.REPLICA.claim(replica.pk)
    assert mine is not None
    seen = mine.wakes, mine.next_due_at
    assert lifecycle.record_crash(mine, Reason("exited", "exit 1"), retry=True, counts=True)
    assert lifecycle.REPLICA.claim(replica.pk) is None  # Docker's event of that same death
    mine.wakes, mine.next_due_at = seen
    assert lease.release(mine, 10)
    replica.refresh_from_db()
    assert replica.next_due_at is not None
    assert (replica.next_due_at - timezone.now()).total_seconds() > 8


def test_release_sets_the_date_of_the_next_look(replica: Replica) -> None:
    mine = lifecycle.REPLICA.claim(replica.pk)
    assert mine is not None
    lease.release(mine, 30)
    replica.refresh_from_db()
    assert replica.next_due_at is not None
    assert 20 < (replica.next_due_at - timezone.now()).total_seconds() < 31
    mine = lifecycle.REPLICA.claim(replica.pk)
    assert mine is not None
    lease.release(mine, None)
    replica.refresh_from_db()
    assert replica.next_due_at is None and replica.lease_until is None


def test_a_request_that_came_in_meanwhile_keeps_its_date(replica: Replica, ada: Any) -> None:
    from webapp.deployments import services

    services.start(ada, replica.deployment)  # the date comes from the database's own clock
    mine = lifecycle.REPLICA.claim(replica.pk)
    assert mine is not None
    lease.release(mine, 300)  # seen by this claim: replaced
    assert not Replica.objects.due().exists()
    mine = lifecycle.REPLICA.claim(replica.pk)
    assert mine is not None
    services.stop(ada, replica.deployment)
    lease.release(mine, 300)
    assert Replica.objects.due().get() == replica


def crash(replica: Replica, counts: bool = True) -> float:
    """Seconds until the next try."""
    put(replica, state=S.LOADING)
    assert lifecycle.record_crash(replica, Reason("exited", "exit 1"), retry=True, counts=counts)
    assert replica.next_due_at is not None
    return round((replica.next_due_at - timezone.now()).total_seconds())


def test_waits_after_crashes_grow_and_stay_at_the_longest(replica: Replica) -> None:
    assert [crash(replica) for _time in range(8)] == [*BACKOFF_S, 300, 300]


def test_ten_minutes_of_ready_forgive_earlier_crashes(replica: Replica) -> None:
    for _time in range(4):
        crash(replica)
    put(replica, ready_at=timezone.now() - timedelta(seconds=599))
    assert crash(replica) == 160
    put(replica, ready_at=timezone.now() - timedelta(seconds=601))
    assert crash(replica) == 10
    assert replica.crash_count == 1


def test_a_death_that_is_not_the_engines_doing_counts_nothing(replica: Replica) -> None:
    crash(replica)
    assert crash(replica, counts=False) == 1
    assert replica.crash_count == 1


def test_what_never_ran_is_no_crash_and_waits_longer_each_time(replica: Replica) -> None:
    crash(replica)

    def failed_pull() -> float:
        put(replica, state=S.PULLING)
        assert lifecycle.record_crash(
            replica, Reason("image_missing", "no way"), retry=True, counts=True, has_run=False
        )
        assert replica.next_due_at is not None
        return round((replica.next_due_at - timezone.now()).total_seconds())

    assert [failed_pull() for _time in range(7)] == [*BACKOFF_S, 300]
    assert (replica.crash_count, replica.failed_starts) == (1, 7)
    assert crash(replica) == 20
    assert (replica.crash_count, replica.failed_starts) == (2, 0)


def test_a_failure_that_only_a_person_can_mend_gives_the_memory_back(replica: Replica, host: Any) -> None:
    inventory.reserve(replica.reservation_owner, host.pk, 64 * MIB)
    put(replica, state=S.LOADING, host=host)
    lifecycle.record_crash(replica, Reason("model_refused", "no GGUF"), retry=False, counts=True)
    host.refresh_from_db()
    assert host.reserved_bytes == 0
    assert replica.next_due_at is None and replica.host == host


@pytest.fixture
def where(host: Any) -> Callable[[int], lifecycle.Place]:
    return lambda size: lifecycle.Place(host, size, {}, {"vendor": "cpu"}, [])


def test_placing_reserves_memory_and_an_address_or_nothing(
    replica: Replica, host: Any, where: Callable[[int], lifecycle.Place]
) -> None:
    host.refresh_from_db()
    with pytest.raises(inventory.NotEnoughMemory):
        lifecycle.place(replica, where(host.usable_bytes + 1))
    replica.refresh_from_db()
    assert (replica.state, replica.host, replica.address) == ("pending", None, "")
    assert lifecycle.place(replica, where(100 * MIB))
    host.refresh_from_db()
    assert (replica.state, replica.host, replica.address[:9]) == ("placing", host, "172.31.5.")
    assert host.reserved_bytes == 100 * MIB


def test_where_engines_have_no_network_each_attempt_has_a_socket_of_its_own(
    replica: Replica, host: Any, where: Callable[[int], lifecycle.Place]
) -> None:
    inventory.record_engine_network(host.pk, NO_NETWORK, "")
    host.refresh_from_db()
    assert lifecycle.place(replica, where(100 * MIB))
    name = f"{replica.pk}.{replica.generation}.{replica.attempt}"
    assert replica.address == replica.socket == str(paths.engine_sockets() / name / "e.sock")
    assert replica.reach == Reach(host.pk, Address("", 0, replica.socket))
    assert not inventory.has_addresses(host.pk), "there is no address to run out of"
    lifecycle.move(replica, S.PLACING, S.FAILED, Reason("", ""))
    lifecycle.begin_again(replica, S.FAILED, Reason("", ""))
    assert lifecycle.place(replica, where(100 * MIB))
    assert Path(replica.socket).parent.name == f"{replica.pk}.{replica.generation}.{replica.attempt}" != name


def test_a_later_attempts_socket_is_taken_over_and_no_address_with_it(replica: Replica, host: Any) -> None:
    replica.host = host
    path = str(paths.engine_sockets() / f"{replica.pk}.1.4" / "e.sock")
    assert lifecycle.adopt(replica, "c9", 1, 4, path)
    assert replica.reach == Reach(host.pk, Address("", 0, path)) and not inventory.has_addresses(host.pk)


def test_placing_a_row_that_somebody_moved_reserves_nothing(
    replica: Replica, host: Any, where: Callable[[int], lifecycle.Place]
) -> None:
    other = Replica.objects.select_related("deployment").get(pk=replica.pk)
    assert lifecycle.move(other, S.PENDING, S.STOPPED, Reason("", ""))
    assert not lifecycle.place(replica, where(100 * MIB))
    host.refresh_from_db()
    assert host.reserved_bytes == 0


def test_the_next_attempt_begins_with_clean_columns(
    replica: Replica, host: Any, where: Callable[[int], lifecycle.Place]
) -> None:
    lifecycle.place(replica, where(100 * MIB))
    put(replica, container_id="c1", observed={"CPU weights": 1}, crash_count=2)
    lifecycle.record_crash(replica, Reason("exited", "exit 1"), retry=True, counts=True)
    assert lifecycle.begin_again(replica, S.FAILED, Reason("retry", "again"))
    host.refresh_from_db()
    assert (replica.attempt, replica.host, replica.container_id, replica.observed) == (2, None, "", {})
    assert replica.crash_count == 3 and host.reserved_bytes == 0


def test_a_stopped_deployment_is_deleted_with_its_last_replica(make_deployment: Callable[..., Any], ada: Any) -> None:
    from webapp.deployments import services
    from webapp.deployments.models import Deployment

    deployment = make_deployment("pair", replicas=2)
    services.delete(ada, deployment)
    first, second = deployment.replicas.all()
    lifecycle.finish_stop(first, S.PENDING, Reason("stopped", "stopped"))
    assert not lifecycle.finish_delete(deployment.pk)
    lifecycle.finish_stop(second, S.PENDING, Reason("stopped", "stopped"))
    assert lifecycle.finish_delete(deployment.pk)
    assert not Deployment.objects.filter(pk=deployment.pk).exists()


def test_a_waiting_replica_says_why_once(replica: Replica) -> None:
    from webapp.foundation.events import services as events

    lifecycle.record_waiting(replica, Reason("no_room", "no room"))
    said = events.version(f"deployment:{replica.deployment_id}")
    lifecycle.record_waiting(replica, Reason("no_room", "no room"))
    assert events.version(f"deployment:{replica.deployment_id}") == said
    replica.refresh_from_db()
    assert (replica.reason_code, replica.reason) == ("no_room", "no room")


@pytest.mark.parametrize("verb", ["delete", "stop"])
def test_a_request_of_the_moment_in_which_a_replica_fails_for_good_is_heard_without_its_message(
    replica: Replica, ada: Any, verb: str
) -> None:
    from webapp.deployments import services

    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    getattr(services, verb)(ada, replica.deployment)
    assert lifecycle.record_crash(claimed, Reason("exited", "It ended."), retry=False, counts=True)
    lease.release(claimed, None)
    assert lifecycle.REPLICA.is_due(replica.pk)
