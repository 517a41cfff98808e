"""The lane of a host: whose turn it is, in which order, and that nobody's is forgotten."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from webapp.control import lease, loop, registry
from webapp.control.kinds import Kind
from webapp.control.loop import Controller
from webapp.control.steps import GO_ON, Wait
from webapp.deployments.lifecycle import REPLICA
from webapp.deployments.models import Replica
from webapp.inventory import services as inventory
from webapp.inventory.models import Host, HostLane
from webapp.inventory.services import HOST, HOST_LANE
from webapp.jobs import services as jobs
from webapp.jobs.models import Job, JobKind
from webapp.jobs.services import JOB

LANE = HOST_LANE.task


@pytest.fixture
def looked_at() -> list[str]:
    """The tables of the rows in the order in which they were looked after."""
    return []


@pytest.fixture
def controllers(looked_at: list[str]) -> tuple[Controller[Any], ...]:
    """The kinds that share a host, looked at and left as they are."""

    def look(row: Any) -> None:
        looked_at.append(f"{row._meta.model_name} {row.pk}")

    return tuple(Controller(kind, look, lambda _row, _seen: Wait(), lambda _step, _row: GO_ON) for kind in kinds())


def kinds() -> tuple[Kind[Any], ...]:
    return HOST, REPLICA, JOB


@pytest.fixture
def there(make_deployment: Callable[..., Any], host: Host) -> list[Replica]:
    """Three replicas on the host, due one after the other; nothing else is."""
    replicas = list(make_deployment(replicas=3).replicas.order_by("number"))
    for replica in replicas:
        due = timezone.now() - timedelta(seconds=10 - replica.number)
        Replica.objects.filter(pk=replica.pk).update(state="ready", host=host, next_due_at=due)
    Host.objects.update(next_due_at=None)
    return replicas


@pytest.fixture
def job(ada: Any, team: Any, artifact: Any, host: Host) -> Job:
    found = jobs.queue_job(ada, team, JobKind.FETCH, artifact, host, {"files": []})
    Job.objects.update(next_due_at=timezone.now())
    return found


def test_a_job_that_was_called_for_does_not_wait_for_replicas_that_nobody_called(
    controllers: Any, there: list[Replica], job: Job, host: Host, looked_at: list[str]
) -> None:
    """A host with many replicas is never done with them within one task: each is due again four seconds later."""
    assert lease.call(JOB.rows(), job.pk)
    loop.work_lane(controllers, HOST_LANE, host.pk)
    assert looked_at == [f"job {job.pk}", *(f"replica {one.pk}" for one in there)]


def test_of_what_nobody_called_the_longest_due_comes_first_whatever_its_kind(
    controllers: Any, there: list[Replica], job: Job, host: Host, looked_at: list[str]
) -> None:
    Job.objects.update(next_due_at=timezone.now() - timedelta(seconds=8.5))
    loop.work_lane(controllers, HOST_LANE, host.pk)
    first, *others = [f"replica {one.pk}" for one in there]
    assert looked_at == [first, f"job {job.pk}", *others]


def test_many_due_rows_of_one_host_hide_no_other_host_from_the_sweep(
    there: list[Replica], host: Host, make_deployment: Callable[..., Any], sent_tasks: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = inventory.register_host(None, "other", "unix:///run/other.sock")
    late = make_deployment("late").replicas.get()
    Replica.objects.filter(pk=late.pk).update(state="ready", host=other, next_due_at=timezone.now())
    Host.objects.update(next_due_at=None)
    monkeypatch.setattr(registry, "MAX_PER_SWEEP", 2)
    sent_tasks.clear()
    registry.sweep(kinds())
    assert sent_tasks == [(LANE, host.pk), (LANE, other.pk)]


def test_rows_without_a_host_are_swept_one_by_one(
    deployment: Any, host: Host, sent_tasks: list[tuple[str, int]]
) -> None:
    Host.objects.update(next_due_at=None)
    Replica.objects.update(next_due_at=timezone.now())
    sent_tasks.clear()
    registry.sweep(kinds())
    assert sent_tasks == [(REPLICA.task, deployment.replicas.get().pk)]


def test_who_loses_the_race_for_a_new_lane_tells_its_holder(
    controllers: Any, there: list[Replica], host: Host, sent_tasks: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Two tasks find no lane; one makes it and has it before the other's own try to make it."""
    real = Kind.claim
    held: list[HostLane] = []

    def claim(kind: Kind[Any], pk: int) -> Any:
        row = real(kind, pk)
        if kind is HOST_LANE and not held:
            HostLane.objects.create(pk=host.pk)
            mine = real(kind, pk)
            assert mine is not None
            held.append(mine)
        return row

    monkeypatch.setattr(Kind, "claim", claim)
    loop.work_lane(controllers, HOST_LANE, host.pk)
    assert lease.release(held[0], None), "its holder looks for due rows once more"


def test_a_call_during_a_step_that_fails_is_answered_at_once(
    there: list[Replica], sent_tasks: list[tuple[str, int]]
) -> None:
    """The step before it has read the row anew, calls included; no decision has seen them."""
    row = there[0]
    steps = iter((Wait, None))

    def act(_step: Any, held: Replica) -> float:
        if next(steps) is None:
            raise RuntimeError("a bug")
        assert lease.call(REPLICA.rows(), held.pk)
        lease.refresh(held)
        return GO_ON

    broken = Controller(REPLICA, lambda _row: None, lambda _row, _seen: "go", act)
    with pytest.raises(RuntimeError):
        loop.work(broken, row.pk)
    assert (REPLICA.task, row.pk) in sent_tasks and REPLICA.is_due(row.pk)
    row.refresh_from_db()
    assert row.lease_until is None
