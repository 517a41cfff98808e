"""Hosts that take a connection and never answer: they cost their own rows something, and nobody else anything."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from webapp.control import registry
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from workers import controllers
from workers.controllers import looks
from workers.controllers.replica import observe as replica_observe
from workers.hosts import connection
from workers.runtime.base import EngineFault

pytestmark = pytest.mark.django_db

REPLICA, PROBE, LANE = "deployments.reconcile", "inventory.probe_host", "inventory.work_host"


class Dead:
    """A socket on which everything is taken and nothing is said; counts who came."""

    def __init__(self, path: Path) -> None:
        self.endpoint, self.came = f"unix://{path}", 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(64)
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            self.came += 1
            self._kept.append(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for kept in self._kept:
            kept.close()


class Answering(BaseHTTPRequestHandler):
    """As much of Docker as a look at a host without containers needs."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        said: Any = {"ApiVersion": "1.41", "ID": "live", "DockerRootDir": "/live"}
        path = self.path.partition("?")[0]
        if path.endswith("/containers/json"):
            self._say(200, [])
        elif "/containers/" in path:
            self._say(404, {"message": "No such container"})
        else:
            self._say(200, said)

    def _say(self, status: int, said: Any) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self._say(500, {"message": "driver failed to remove root filesystem: device or resource busy"})

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Dead]]:
    """A dead machine by its number; whoever asks gives up after a tenth of a second."""
    monkeypatch.setattr(looks, "PING_S", 0.1)
    made: list[Dead] = []

    def make(number: int) -> Dead:
        made.append(Dead(tmp_path / f"{number}.sock"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[str]:
    """The endpoint of a machine that answers."""
    Answering.asked.clear()
    path = tmp_path / "live.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{path}"
        server.shutdown()


def register(name: str, endpoint: str, state: str = "online") -> Host:
    """A host that was looked at before."""
    host = inventory.register_host(None, name, endpoint)
    now = timezone.now()
    is_silent = state == "unreachable"
    Host.objects.filter(pk=host.pk).update(
        state=state, daemon_id="live@/live", lost_at=now if is_silent else None, next_due_at=now if is_silent else None
    )
    host.refresh_from_db()
    return host


@pytest.fixture
def ready_on(make_deployment: Callable[..., Any]) -> Callable[..., Replica]:
    """A replica that serves there, due now."""

    def make(host: Host, name: str) -> Replica:
        replica: Replica = make_deployment(name).replicas.get()
        Replica.objects.filter(pk=replica.pk).update(
            state="ready", host=host, container_id="c", next_due_at=timezone.now()
        )
        return replica

    return make


def test_what_is_to_be_said_of_a_silent_hosts_replicas_is_said_without_asking_it(
    dead: Callable[[int], Dead], ready_on: Callable[..., Replica]
) -> None:
    machine = dead(1)
    host = register("gone", machine.endpoint, "unreachable")
    Host.objects.update(lost_at=timezone.now() - timedelta(seconds=31))
    replica = ready_on(host, "chat")
    controllers.work(REPLICA, replica.pk)
    replica.refresh_from_db()
    assert (replica.state, replica.reason_code, machine.came) == ("lost", "host_unreachable", 0)


def test_a_host_that_falls_silent_is_asked_once_however_much_runs_there(
    dead: Callable[[int], Dead], ready_on: Callable[..., Replica], sent_tasks: list[tuple[str, int]]
) -> None:
    machine = dead(1)
    host = register("going", machine.endpoint)
    replicas = [ready_on(host, f"chat{number}") for number in range(5)]
    for replica in replicas:
        controllers.work(REPLICA, replica.pk)
    host.refresh_from_db()
    assert (host.state, machine.came) == ("unreachable", 1)


def test_a_row_whose_host_another_task_works_on_leaves_it_alone_and_is_not_forgotten(
    live: str, ready_on: Callable[..., Replica], sent_tasks: list[tuple[str, int]]
) -> None:
    host = register("live", live)
    first, second = ready_on(host, "first"), ready_on(host, "second")
    Replica.objects.filter(pk=second.pk).update(next_due_at=None)
    inside = []

    class Nested(Exception):
        pass

    def call_while_at_work(*_arguments: Any) -> None:
        controllers.work(REPLICA, second.pk)  # what another process does meanwhile
        inside.append(len(Answering.asked))

    real = looks.containers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "containers", lambda *them: (call_while_at_work(), real(*them))[1])
        before = len(Answering.asked)
        controllers.work(REPLICA, first.pk)
    assert inside[0] - before <= 2, "the ping of the first is all that the host was asked"
    assert (LANE, host.pk) in sent_tasks
    sent_tasks.clear()
    controllers.work(LANE, host.pk)
    second.refresh_from_db()
    assert second.missing_since is not None or second.state == "lost", "it was looked after: its container is not there"


def test_of_twenty_silent_hosts_one_is_asked_at_a_time_and_the_living_are_looked_after(
    dead: Callable[[int], Dead], live: str, ready_on: Callable[..., Replica], sent_tasks: list[tuple[str, int]]
) -> None:
    machines = [dead(number) for number in range(20)]
    hosts = [register(f"gone{n}", one.endpoint, "unreachable") for n, one in enumerate(machines)]
    for host in hosts:
        ready_on(host, f"on-{host.name}")
    healthy = ready_on(register("live", live), "healthy")
    Host.objects.exclude(pk__in=[host.pk for host in hosts]).update(next_due_at=None)
    sent_tasks.clear()
    registry.sweep(controller.kind for controller in controllers.CONTROLLERS)
    assert len(sent_tasks) == 21 and {task for task, _pk in sent_tasks} == {LANE}, "one message per host"
    held = inventory.HOST.claim(hosts[0].pk)  # a worker asks the first one at this moment
    assert held is not None
    for task, pk in list(sent_tasks):
        if pk != hosts[0].pk:
            controllers.work(task, pk)
    assert [one.came for one in machines] == [0] * 20
    healthy.refresh_from_db()
    assert healthy.state == "lost" and healthy.missing_since is not None, "looked at: its container is not there"
    Host.objects.filter(pk=hosts[0].pk).update(lease_until=None)
    controllers.work(PROBE, hosts[1].pk)
    assert [one.came for one in machines] == [0, 1, *[0] * 18]


def test_a_host_that_came_back_after_a_row_was_read_is_not_called_silent_again(
    live: str, ready_on: Callable[..., Replica]
) -> None:
    """A replica is read, waits for its lane while the probe has it, and still carries the host as it was."""
    host = register("back", live, "unreachable")
    Host.objects.filter(pk=host.pk).update(lost_at=timezone.now() - timedelta(minutes=10))
    claimed = lifecycle.REPLICA.claim(ready_on(host, "chat").pk)
    assert claimed is not None
    assert inventory.record_facts(host.pk, inventory.HostFacts("live@/live", 4, 8 * 1024**3)), "the probe"
    observed = replica_observe.look(claimed)
    host.refresh_from_db()
    assert (host.state, observed.unreachable_s) == ("online", 0.0)


def test_an_engine_that_says_it_failed_is_not_taken_for_one_that_says_nothing(live: str) -> None:
    with pytest.raises(EngineFault, match="resource busy"):
        connection.runtime(register("busy", live)).remove("c")
