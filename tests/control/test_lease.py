"""The lease that every kind shares; a replica stands for all."""

from typing import Any

import pytest
from django.db.models import QuerySet

from webapp.control import lease
from webapp.deployments.lifecycle import REPLICA
from webapp.deployments.models import Replica


@pytest.fixture
def replica(deployment: Any) -> Replica:
    found: Replica = deployment.replicas.get()
    Replica.objects.update(next_due_at=None)
    return found


def test_a_claim_of_a_free_row_is_one_update(replica: Replica, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):  # and one read
        assert REPLICA.claim(replica.pk) is not None


def test_a_call_that_nobody_saw_leaves_the_row_due(replica: Replica) -> None:
    mine = REPLICA.claim(replica.pk)
    assert mine is not None and REPLICA.claim(replica.pk) is None
    assert lease.release(mine, None), "the holder is told; should its message be lost, the sweep finds the row"
    assert Replica.objects.due().get() == replica
    again = REPLICA.claim(replica.pk)
    assert again is not None and not lease.release(again, None)
    assert not Replica.objects.due().exists()


def test_who_comes_while_the_holder_lets_go_takes_the_row(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder has counted the calls before ours, and we have found the row held: nobody would look."""
    mine = REPLICA.claim(replica.pk)
    assert mine is not None
    real = lease.call

    def call(rows: "QuerySet[Replica]", pk: int) -> bool:
        assert not lease.release(mine, None)
        return real(rows, pk)

    monkeypatch.setattr(lease, "call", call)
    assert REPLICA.claim(replica.pk) is not None


def test_a_claim_is_renewed_by_its_holder_alone(replica: Replica) -> None:
    slow = REPLICA.claim(replica.pk)
    assert slow is not None and lease.renew(slow)
    Replica.objects.update(lease_until=None)
    assert REPLICA.claim(replica.pk) is not None
    assert not lease.renew(slow)


def test_a_row_that_is_gone_is_claimed_by_nobody(db: None) -> None:
    assert REPLICA.claim(4711) is None
