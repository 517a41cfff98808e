"""A container that Docker fails to remove ("device or resource busy") costs its own row something, and nobody else."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone

from tests.parts.images import allow
from tests.parts.memory_runtime import MemoryRuntime
from webapp.deployments import services
from webapp.deployments.spec import DeploymentSpec
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from workers import controllers
from workers.runtime import specs
from workers.runtime.base import ContainerSpec

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def runtime(cast: Any) -> MemoryRuntime:
    found: MemoryRuntime = cast.runtime
    found.daemon = cast.host.daemon_id.split("@")[0]
    return found


@pytest.fixture
def leave(runtime: MemoryRuntime) -> Callable[[str, int], str]:
    """A container of an earlier attempt that has ended and cannot be removed; its id."""

    def left(kind: str, row_id: int) -> str:
        who = specs.labels(str(inventory.installation().pk), kind, row_id, 1, 1)
        made = runtime.create(ContainerSpec(name=f"left-{kind}", image="i", labels=who))
        runtime.end(made, 0)
        runtime.containers[made] = replace(runtime.containers[made], created_at=LONG_AGO, finished_at=LONG_AGO)
        runtime.stuck.add(made)
        return made

    return left


def test_an_orphan_that_cannot_be_removed_makes_no_host_unreachable(
    cast: Any, runtime: MemoryRuntime, leave: Callable[[str, int], str]
) -> None:
    orphan = leave("replica", 4711)
    Host.objects.update(next_due_at=timezone.now())
    controllers.work("inventory.probe_host", cast.host.pk)
    cast.host.refresh_from_db()
    assert (cast.host.state, orphan in runtime.containers) == ("online", True), cast.host.reason


def test_an_earlier_attempt_that_cannot_be_removed_makes_no_host_unreachable(
    cast: Any, runtime: MemoryRuntime, leave: Callable[[str, int], str]
) -> None:
    allow("engine")
    wanted = DeploymentSpec("chat", artifact=cast.artifact, image="engine:1")
    replica = services.create(cast.ada, cast.team, wanted).replicas.get()
    leave("replica", replica.pk)
    type(replica).objects.update(attempt=2)
    controllers.work("deployments.reconcile", replica.pk)
    cast.host.refresh_from_db()
    replica.refresh_from_db()
    assert (cast.host.state, replica.state) == ("online", "placing"), cast.host.reason
    assert replica.next_due_at is not None, "it is tried again"
    runtime.stuck.clear()
    controllers.work("deployments.reconcile", replica.pk)
    replica.refresh_from_db()
    assert replica.state == "loading"
