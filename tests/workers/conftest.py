"""A real Docker engine, a host that stands for it, and deployments of the tiny engine on it."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.parts.dockerd import FAKE_ENGINE, Dockerd, running_dockerd
from tests.parts.images import allow

GIB = 1024**3
FACTS = {
    "architecture": "llama",
    "layers": 2,
    "heads": 2,
    "kv_heads": 2,
    "embedding_length": 64,
    "weights_bytes": 1 << 20,
}


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """One engine for all tests that leave it alive."""
    with running_dockerd(81) as engine:
        engine.import_fake_engine()
        yield engine


@pytest.fixture(autouse=True)
def the_watchers_thread_lets_go_of_the_database() -> Iterator[None]:
    yield
    from django.db import connection

    from workers.watcher import rows

    rows._thread.submit(lambda: connection.close()).result()  # the thread's own connection


@pytest.fixture
def engine(dockerd: Dockerd) -> Iterator[Dockerd]:
    """The shared engine, without containers before and after."""
    dockerd.remove_containers()
    yield dockerd
    dockerd.remove_containers()


@pytest.fixture
def machine(engine: Dockerd, transactional_db: None) -> Any:
    """The engine as a host that has been looked at."""
    return register(engine)


def register(engine: Dockerd, name: str = "machine") -> Any:
    from webapp.inventory import services as inventory
    from workers import controllers

    host = inventory.register_host(None, name, engine.endpoint)
    controllers.work("inventory.probe_host", host.pk)
    host.refresh_from_db()
    assert host.state == "online", host.reason
    return host


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch, machine: Any) -> Callable[[bool], Any]:
    """Whether the host is a machine whose containers cannot answer on a socket of ours; it is looked at again."""

    def turn(is_foreign: bool) -> Any:
        from workers import controllers
        from workers.hosts import place

        with monkeypatch.context() as patch:
            if is_foreign:
                patch.setattr(place, "is_this_machine", lambda *about: False)
            controllers.work("inventory.probe_host", machine.pk)
        machine.refresh_from_db()
        return machine

    return turn


@pytest.fixture
def weights(machine: Any) -> Any:
    """An artifact that is present on the machine; the tiny engine never opens it."""
    return make_artifact(machine)


def make_artifact(host: Any) -> Any:
    from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState

    model = CatalogModel.objects.create(name="Tiny", slug="tiny", architecture="llama")
    artifact = Artifact.objects.create(
        catalog_model=model, format="gguf", quantisation="F16", main_file="tiny.gguf", facts=FACTS, size_bytes=1 << 20
    )
    ArtifactCopy.objects.create(artifact=artifact, host=host, state=CopyState.PRESENT)
    lay(host, artifact)
    return artifact


def lay(host: Any, artifact: Any) -> None:
    """Its folder in the machine's models volume, as a fetch leaves it."""
    with contextlib.closing(docker.APIClient(host.endpoint, version="auto")) as client:
        client.create_volume("modelyard-models")
        Path(client.inspect_volume("modelyard-models")["Mountpoint"], str(artifact.pk)).mkdir(exist_ok=True)


@pytest.fixture
def serve(weights: Any, ada: Any, team: Any, work: Any) -> Callable[..., Any]:
    """Ask for a deployment as ada would; returns its (first) replica."""

    def ask(name: str = "tiny", image: str = FAKE_ENGINE, **spec: Any) -> Any:
        from webapp.deployments import services

        allow(image)
        deployment = services.create(
            ada, team, services.DeploymentSpec(name=name, artifact=weights, image=image, **spec)
        )
        return deployment.replicas.get(number=1)

    return ask


@pytest.fixture
def way(engine: Dockerd, transactional_db: None) -> Callable[..., str]:
    """An image of the tiny engine that behaves as told; the tag names the behaviour."""

    def make(tag: str, **ways: object) -> str:
        image = engine.import_fake_engine(f"modelyard-test/{tag}:1", **ways)
        allow(image)
        return image

    return make


class Work:
    """The messages to the workers, carried out when the test says so. Delayed ones wait for `pass_time`."""

    def __init__(self) -> None:
        self.now: list[tuple[str, int]] = []
        self.later: list[tuple[str, int]] = []

    def send(self, task: str, row_id: int, in_s: float | None = None) -> None:
        (self.later if in_s else self.now).append((task, row_id))

    def __call__(self) -> None:
        """Carry out what was sent, and what comes of it, as a worker would."""
        from workers import controllers

        for _count in range(100):
            if not self.now:
                return
            task, row_id = self.now.pop(0)
            controllers.work(task, row_id)
        raise AssertionError("the messages never end")

    def pass_time(self, row: Any, seconds: float) -> None:
        """Let the row grow older by so many seconds, and carry out what has become due."""
        from django.db.models import F

        from webapp.inventory.models import HostLane

        row.refresh_from_db()
        dates = {
            field.attname: getattr(row, field.attname) - timedelta(seconds=seconds)
            for field in row._meta.concrete_fields
            if field.get_internal_type() == "DateTimeField" and getattr(row, field.attname) is not None
        }
        type(row).objects.filter(pk=row.pk).update(**dates)
        HostLane.objects.update(lease_until=F("lease_until") - timedelta(seconds=seconds))
        self.now += self.later
        self.later.clear()
        if row._meta.model_name == "replica" and type(row).objects.due().filter(pk=row.pk).exists():
            self.send("deployments.reconcile", row.pk)
        self()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, sent_tasks: list[tuple[str, int]]) -> Work:
    from webapp.foundation import work_queue

    work = Work()
    monkeypatch.setattr(work_queue, "send", work.send)
    return work
