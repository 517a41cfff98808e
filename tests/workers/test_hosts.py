"""Hosts that fall silent, come back, or turn out to be somebody else; and what nobody owns on them."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.parts.dockerd import Dockerd, running_dockerd
from tests.parts.images import allow
from tests.workers.acting import containers, prove, reload

pytestmark = pytest.mark.docker

Serve = Callable[..., Any]


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Docker calls give up after a second: for a Docker engine that is frozen, not for one that is busy."""
    from workers.hosts import connection

    connection._runtime.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "CALL_TIMEOUT_S", 1)
        yield
    connection._runtime.cache_clear()


def test_facts_and_volume_are_there_after_the_first_look(machine: Any, engine: Any) -> None:
    assert machine.memory_bytes > 1024**3 and machine.cpu_count >= 1
    assert machine.disk_free_bytes > 0
    assert machine.daemon_id.endswith("/data")
    assert (machine.engine_network, machine.engine_subnet) == ("none", "")
    assert machine.facts["ServerVersion"]
    with contextlib.closing(engine.client()) as client:
        assert client.inspect_volume("modelyard-models")["Name"] == "modelyard-models"


def test_a_silent_host_is_shown_after_half_a_minute_and_nothing_is_started_elsewhere(
    serve: Serve, work: Any, engine: Any, machine: Any
) -> None:
    replica = serve()
    work()
    prove(replica)
    engine.freeze()
    try:
        with impatient():
            work.send("deployments.reconcile", replica.pk)
            work()
            assert reload(machine).state == "unreachable" and reload(replica).state == "ready"
            type(machine).objects.update(lost_at=timezone.now() - timedelta(seconds=31))
            work.pass_time(replica, 31)
            assert (reload(replica).state, replica.reason_code) == ("lost", "host_unreachable")
            for _look in range(3):
                work.pass_time(replica, 100)
            assert reload(replica).state == "lost" and replica.attempt == 1
    finally:
        engine.thaw()
    work.pass_time(replica, 13)
    assert reload(replica).state == "loading" and reload(machine).state == "online"
    prove(replica)
    assert replica.attempt == 1 and len(containers(engine)) == 1


def test_a_list_from_another_engine_ends_nothing(
    serve: Serve, work: Any, engine: Any, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.inventory import services as inventory
    from workers import controllers
    from workers.controllers.host import orphans

    replica = serve()
    work()
    prove(replica)
    home = machine.endpoint
    with running_dockerd(82) as other:
        type(machine).objects.update(endpoint=other.endpoint)
        for _look in range(3):
            work.pass_time(replica, 60)
        controllers.work("inventory.probe_host", machine.pk)
        assert "Another Docker engine answers" in reload(machine).reason
        assert machine.state == "unreachable" and reload(replica).attempt == 1
        assert orphans.clean_up(machine.pk) == 0
    type(machine).objects.update(endpoint=home)
    assert inventory.installation()
    work.pass_time(replica, 13)
    prove(reload(replica))
    assert replica.attempt == 1


@pytest.mark.parametrize("live_restore", [True, False], ids=["live-restore", "plain"])
def test_a_docker_engine_that_dies_and_comes_back(
    live_restore: bool, transactional_db: None, team: Any, ada: Any, work: Any
) -> None:
    from tests.workers.conftest import make_artifact, register
    from webapp.deployments import services

    with running_dockerd(83, live_restore) as engine:
        engine.import_fake_engine()
        machine = register(engine)
        allow("modelyard-test/engine")
        asked = services.DeploymentSpec(name="tiny", artifact=make_artifact(machine), image="modelyard-test/engine:1")
        replica = services.create(ada, team, asked).replicas.get()
        work()
        prove(replica)
        before = containers(engine)[0]["Id"]
        engine.kill()
        work.send("deployments.reconcile", replica.pk)
        work()
        assert reload(machine).state == "unreachable" and reload(replica).state == "ready"
        engine.start()
        work.pass_time(replica, 6)
        if live_restore:
            assert reload(replica).state == "ready" and replica.attempt == 1
        else:
            assert (reload(replica).state, replica.reason_code) == ("failed", "daemon_restart"), replica.reason
            assert replica.crash_count == 0
            work.pass_time(replica, 2)
            assert reload(replica).state == "loading" and replica.attempt == 2
            prove(replica)
        assert (containers(engine)[0]["Id"] == before) == live_restore
        assert len(containers(engine)) == 1


@pytest.fixture
def litter(engine: Dockerd, machine: Any) -> Callable[..., str]:
    """A container on the host that no row knows."""
    from webapp.inventory import services as inventory

    def drop(name: str, **labels: str) -> str:
        mine = {"modelyard.installation": str(inventory.installation().pk), "modelyard.kind": "replica", **labels}
        with contextlib.closing(engine.client()) as client:
            return str(client.create_container("modelyard-test/engine:1", name=name, labels=mine)["Id"])

    return drop


def names(engine: Dockerd) -> set[str]:
    with contextlib.closing(engine.client()) as client:
        return {item["Names"][0].lstrip("/") for item in client.containers(all=True)}


@pytest.fixture
def old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.controllers.host import orphans

    monkeypatch.setattr(orphans, "ORPHAN_AFTER_S", 0)


def test_what_nobody_owns_goes_and_everything_else_stays(
    serve: Serve, work: Any, engine: Any, machine: Any, litter: Callable[..., str], old_enough: None
) -> None:
    from workers.controllers.host import orphans

    replica = serve()
    work()
    litter("unknown", **{"modelyard.id": "999"})
    litter("unreadable", **{"modelyard.id": "x; drop"})
    litter("forgotten-probe", **{"modelyard.kind": "probe", "modelyard.id": "1"})
    litter("other-installation", **{"modelyard.installation": "somebody-else"})
    with contextlib.closing(engine.client()) as client:
        client.create_container("modelyard-test/engine:1", name="foreign")
    assert orphans.clean_up(machine.pk) == 3
    assert names(engine) == {"foreign", "other-installation", reload(replica).container_name}


def test_young_orphans_and_all_orphans_on_hold_stay(
    engine: Any, machine: Any, litter: Callable[..., str], monkeypatch: Any
) -> None:
    from webapp.inventory.models import Installation
    from workers.controllers.host import orphans

    litter("unknown", **{"modelyard.id": "999"})
    assert orphans.clean_up(machine.pk) == 0, "it may be about to be written down"
    monkeypatch.setattr(orphans, "ORPHAN_AFTER_S", 0)
    Installation.objects.update(is_on_hold=True)
    assert orphans.clean_up(machine.pk) == 0
    assert names(engine) == {"unknown"}


def test_an_orphan_that_gets_an_owner_at_the_last_moment_stays(
    engine: Any, litter: Callable[..., str], old_enough: None, serve: Serve, machine: Any, monkeypatch: Any
) -> None:
    from workers.controllers.host import orphans
    from workers.runtime.docker import DockerRuntime

    replica = serve()
    litter("late", **{"modelyard.id": str(replica.pk)})
    real = DockerRuntime.inspect

    def owned_meanwhile(self: Any, container: str) -> Any:
        type(replica).objects.update(host=machine, state="starting")
        return real(self, container)

    monkeypatch.setattr(DockerRuntime, "inspect", owned_meanwhile)
    assert orphans.clean_up(machine.pk) == 0
    assert names(engine) == {"late"}


def test_the_sweep_finds_what_is_due_and_hosts_too(serve: Serve, work: Any, machine: Any) -> None:
    from workers.controllers import sweeping

    replica = serve()
    type(replica.deployment).objects.update(next_due_at=None)
    work.now.clear()
    sweeping.sweep()
    assert work.now == [("deployments.reconcile", replica.pk)]
    work()
    type(replica).objects.update(next_due_at=None)
    type(replica.deployment).objects.update(next_due_at=None)
    sweeping.sweep()
    assert work.now == []
    type(machine).objects.update(next_due_at=timezone.now())
    sweeping.sweep()
    assert work.now == [("inventory.work_host", machine.pk)]
    seen_at = reload(machine).seen_at
    work()
    assert reload(machine).seen_at > seen_at


def test_engines_running_before_the_control_plane_are_taken_over(
    serve: Serve, work: Any, engine: Any, machine: Any
) -> None:
    """The row is older than the container: a crash between start and the row's commit, or a restored backup."""
    replica = serve()
    work()
    [before] = containers(engine)
    type(replica).objects.update(state="starting", container_id="")
    work.pass_time(replica, 13)
    assert reload(replica).state == "loading" and replica.container_id == before["Id"]
    prove(replica)
    [after] = containers(engine)
    assert after["Id"] == before["Id"]


def test_a_database_older_than_the_host_goes_on_with_what_runs(
    serve: Serve, work: Any, engine: Any, machine: Any
) -> None:
    """After a restore the row knows of an earlier attempt than the one that serves."""
    replica = serve()
    work()
    prove(replica)
    backup = {"attempt": replica.attempt, "container_id": "of-long-ago", "state": "ready"}
    with contextlib.closing(engine.client()) as client:
        client.kill(replica.container_name)
    work.send("deployments.reconcile", replica.pk)
    work()
    work.pass_time(replica, 11)
    prove(replica)
    assert reload(replica).attempt == 2
    [serving] = containers(engine)
    type(replica).objects.update(**backup)
    work.pass_time(replica, 11)
    assert reload(replica).attempt == 2 and replica.state == "ready"
    assert replica.container_id == serving["Id"]
    [still] = containers(engine)
    assert still["Id"] == serving["Id"] and still["State"] == "running"


def test_a_look_at_a_host_finds_the_quantisers_images(engine: Any, machine: Any) -> None:
    from webapp.quantisation.recipes import GGUF_IMAGE
    from workers import controllers

    assert machine.facts["quantiser_images"] == []
    with contextlib.closing(engine.client()) as client:
        client.tag("modelyard-test/engine:1", *GGUF_IMAGE.split(":"))
        try:
            controllers.work("inventory.probe_host", machine.pk)
            assert reload(machine).facts["quantiser_images"] == [GGUF_IMAGE]
        finally:
            client.remove_image(GGUF_IMAGE)


CPUINFO = "model name\t: {name}\nflags\t\t: {flags}\n"


def test_a_look_at_a_host_reads_its_processors_and_keeps_what_was_read(
    engine: Any, machine: Any, ada: Any, team: Any
) -> None:
    """The image that reads them comes later than the host; a host that another look finds without it loses nothing."""
    from webapp.inventory.models import Host
    from workers import controllers

    assert "processor" not in machine.facts and machine.processor.flags == frozenset()
    for flags in ("sse2 avx2 f16c", "sse2 avx2 f16c avx512f"):
        engine.import_fake_tools(CPUINFO.format(name="Some CPU", flags=flags).encode())
        Host.objects.filter(pk=machine.pk).update(facts={**machine.facts, "accelerators_at": 0})
        controllers.work("inventory.probe_host", machine.pk)
        assert reload(machine).processor.flags == set(flags.split()) and machine.processor.name == "Some CPU"
        assert containers(engine, "probe") == []
    with contextlib.closing(engine.client()) as client:
        client.remove_image("modelyard/tools:1", force=True)
    Host.objects.filter(pk=machine.pk).update(facts={**machine.facts, "accelerators_at": 0})
    controllers.work("inventory.probe_host", machine.pk)
    assert "avx512f" in reload(machine).processor.flags and machine.state == "online"


def test_a_host_that_says_nothing_of_its_processors_is_online_all_the_same(engine: Any, machine: Any) -> None:
    from workers import controllers

    engine.import_fake_tools(b"no such thing")
    try:
        controllers.work("inventory.probe_host", machine.pk)
        assert reload(machine).state == "online" and machine.processor.flags == frozenset()
    finally:
        with contextlib.closing(engine.client()) as client:
            client.remove_image("modelyard/tools:1", force=True)
