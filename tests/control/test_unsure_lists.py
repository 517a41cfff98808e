"""A list of containers that cannot be trusted removes nothing, and a person is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.control.worlds import OneReplica
from tests.parts.memory_runtime import MemoryRuntime
from webapp.interfaces.kit import attention
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from workers import controllers
from workers.runtime import specs
from workers.runtime.base import ContainerSpec

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
PROBE, RECONCILE = "inventory.probe_host", "deployments.reconcile"


@pytest.fixture
def served(cast: Any) -> OneReplica:
    """A replica that has served for an hour, beside an orphan that is old enough to be removed."""
    world = OneReplica(cast)
    controllers.work(RECONCILE, world.pk)
    world.shake(3)
    assert world.row().state == "ready"
    world.age(3600)
    for made in list(cast.runtime.containers.values()):
        cast.runtime.containers[made.id] = replace(made, started_at=LONG_AGO)
    leave_orphan(cast.runtime)
    return world


def leave_orphan(runtime: MemoryRuntime) -> None:
    who = specs.labels(str(inventory.installation().pk), "replica", 4711, 1, 1)
    made = runtime.create(ContainerSpec(name="orphan", image="i", labels=who))
    runtime.end(made, 0)
    runtime.containers[made] = replace(runtime.containers[made], created_at=LONG_AGO, finished_at=LONG_AGO)


def ours(runtime: MemoryRuntime) -> set[str]:
    """Engines' containers by name; the host's sampler is none."""
    return {one.name for one in runtime.containers.values() if one.kind == "replica"}


def look(world: OneReplica, host: Host, times: int = 3) -> None:
    """Both are looked at again and again, longer apart than an absence needs to be certain."""
    for _look in range(times):
        world.age(60)
        Host.objects.filter(pk=host.pk).update(next_due_at=timezone.now())
        controllers.work(PROBE, host.pk)
        controllers.work(RECONCILE, world.pk)


def told_of(host: Host, person: Any) -> list[str]:
    return [each.reason for each in attention.concerns(person) if each.title == host.name]


@pytest.mark.parametrize(
    ("listing", "words"),
    [("failing", "the list of containers could not be read"), ("empty", "list lacks the container c1")],
)
def test_a_list_that_fails_or_lacks_what_serves_removes_nothing_and_is_told(
    cast: Any, served: OneReplica, listing: str, words: str
) -> None:
    before = ours(cast.runtime)
    cast.runtime.listing = listing
    look(served, cast.host)
    assert ours(cast.runtime) == before, "nothing was removed, and nothing was made a second time"
    assert (served.row().state, served.row().attempt) == ("ready", 1)
    [reason] = told_of(cast.host, cast.ada)
    assert words in reason
    cast.runtime.listing = "right"
    look(served, cast.host)
    assert before - ours(cast.runtime) == {"orphan"}, "the orphan alone"
    assert told_of(cast.host, cast.ada) == [], "it is over"


def test_a_list_that_lacks_a_serving_container_among_others_is_not_trusted_either(
    cast: Any, served: OneReplica
) -> None:
    before = ours(cast.runtime)
    [serving] = cast.runtime.running("replica")
    cast.runtime.unlisted.add(serving.id)
    look(served, cast.host)
    assert ours(cast.runtime) == before and served.row().state == "ready"
    assert len(told_of(cast.host, cast.ada)) == 1


def test_a_list_from_another_engine_removes_nothing_and_is_told(cast: Any, served: OneReplica) -> None:
    before = ours(cast.runtime)
    cast.runtime.daemon = "another"
    look(served, cast.host)
    assert ours(cast.runtime) == before and served.row().attempt == 1
    [reason] = told_of(cast.host, cast.ada)
    assert "Another Docker engine answers" in reason


def test_a_second_way_to_a_hosts_engine_is_no_second_host(cast: Any, served: OneReplica) -> None:
    """/run/docker.sock and /var/run/docker.sock are one: what the second name does not know is the first one's."""
    before = ours(cast.runtime)
    second = inventory.register_host(None, "again", "unix:///run/docker.sock")
    look(served, second)
    assert ours(cast.runtime) == before and served.row().state == "ready"
    [reason] = told_of(second, cast.ada)
    assert f"(host {cast.host.pk})" in reason
    assert told_of(cast.host, cast.ada) == []


def test_two_hosts_that_have_shared_an_engine_since_before_lose_nothing(cast: Any, served: OneReplica) -> None:
    second = inventory.register_host(None, "again", "unix:///run/docker.sock")
    Host.objects.filter(pk=second.pk).update(daemon_id=cast.host.daemon_id, state="online")
    before = ours(cast.runtime)
    for host in (second, cast.host):
        look(served, host)
        assert ours(cast.runtime) == before and served.row().state == "ready"
        assert len(told_of(host, cast.ada)) == 1


def test_a_host_of_which_nothing_is_wrong_is_not_named(cast: Any, served: OneReplica) -> None:
    look(served, cast.host)
    assert told_of(cast.host, cast.ada) == []
    assert cast.host.events.filter(at__gt=timezone.now() - timedelta(hours=1)).count() <= 2
