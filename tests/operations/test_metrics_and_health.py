"""What Prometheus and health checks are told, and who may hear it."""

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests.stage import STATE
from webapp.accounts.services import create_key
from webapp.gateway.ledger.metrics import Metrics
from webapp.operations import backups, gateway_metrics, health, heartbeats, metrics
from webapp.operations.models import Backup, BackupState, Heartbeat

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_kept", None)


@pytest.fixture
def gateways() -> Iterator[None]:
    """Two gateway processes' private sockets, answering with what the real class renders."""
    (STATE / "run").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        for number in (0, 1):
            counted = Metrics()
            counted.tallies["research/smollm2"].requests["chat/completions", 200, "ok"] = 5 + number
            counted.tallies["research/smollm2"].count_answer(0.02)
            counted.tallies["research/smollm2"].count_tokens(10, 20)
            text = counted.render([("snapshot_age_seconds", "Time since web last answered", 0.5 + number)])
            stack.callback(served(STATE / "run" / f"gateway-{number}.metrics.sock", text))
        yield


def served(path: Path, body: bytes) -> Callable[[], None]:
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        path.unlink()

    return end


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, tuple(sorted(labels.items()))]


def test_the_state_of_everything_is_told(deployment: Any, advance: Any, host: Any, gateways: None) -> None:
    advance(deployment.replicas.get(), "placing")
    heartbeats.beat("worker")
    heartbeats.beat("watcher", round_s=0.25)
    text = metrics.render().decode()
    assert value(text, "modelyard_deployments", desired="running") == 1
    assert value(text, "modelyard_replicas", state="placing") == 1
    assert value(text, "modelyard_replicas", state="ready") == 0
    assert value(text, "modelyard_host_memory_bytes", host="local", kind="usable") == host.usable_bytes
    gpu = {"host": "local", "accelerator": "GPU-1", "model": "NVIDIA L4", "kind": "total"}
    assert value(text, "modelyard_accelerator_memory_bytes", **gpu) == 24 * 1024**3
    assert value(text, "modelyard_heartbeat_age_seconds", process="watcher") < 5
    assert value(text, "modelyard_watcher_round_seconds") == 0.25
    assert value(text, "modelyard_process_resident_memory_bytes", process="web") > 10_000_000
    assert value(text, "modelyard_broker_up") == 0


def test_each_gateway_process_has_its_own_series(gateways: None) -> None:
    text = metrics.render().decode()
    labels = {"deployment": "research/smollm2", "endpoint": "chat/completions", "status": "200", "outcome": "ok"}
    assert value(text, "modelyard_gateway_requests_total", process="0", **labels) == 5
    assert value(text, "modelyard_gateway_requests_total", process="1", **labels) == 6
    assert text.count("# TYPE modelyard_gateway_requests_total counter") == 1


def test_usage_is_counted_by_deployment(deployment: Any, ada: Any) -> None:
    from webapp.usage.services import accept

    record = {
        "id": "1" * 32, "at": timezone.now().timestamp(), "user": ada.pk, "team": deployment.team_id, "status": 200,
        "deployment": deployment.pk, "outcome": "ok", "prompt_tokens": 7, "completion_tokens": 9, "endpoint": "x",
    }  # fmt: skip
    accept([record])
    text = metrics.render().decode()
    assert value(text, "modelyard_usage_completion_tokens_total", team="research", deployment="smollm2") == 9


def test_promtool_finds_nothing_to_complain_about(deployment: Any, gateways: None) -> None:
    heartbeats.beat("worker")
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    text = metrics.render()
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_more_rows_cost_no_more_queries(make_deployment: Any, django_assert_num_queries: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    make_deployment("one")
    with CaptureQueriesContext(connection) as before:
        metrics.render()
    for number in range(20):
        make_deployment(f"more-{number}", replicas=3)
    with CaptureQueriesContext(connection) as after:
        metrics.render()
    assert len(after) == len(before)


@pytest.fixture
def admins_key(root: Any, team: Any) -> Callable[..., str]:
    def make(scopes: tuple[str, ...] = ("read",)) -> str:
        return create_key(root, team, "prometheus", scopes)[1]

    return make


def get(path: str, bearer: str | None = None) -> Any:
    return Client().get(path, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})


def test_metrics_open_for_an_admins_reading_key_and_for_the_token(
    admins_key: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert get("/metrics", admins_key()).status_code == 200
    assert get("/metrics", "the-token").status_code == 401
    (tmp_path / "token").write_text("the-token\n")
    monkeypatch.setenv("MODELYARD_METRICS_TOKEN_FILE", str(tmp_path / "token"))
    assert get("/metrics", "the-token").status_code == 200
    assert get("/metrics", "the-toke").status_code == 401


def test_metrics_stay_shut_for_everybody_else(admins_key: Any, ada: Any, client: Client) -> None:
    assert get("/metrics").status_code == 401
    assert get("/metrics", admins_key(("inference",))).status_code == 401
    _row, adas = create_key(ada, ada.teams.get(), "k")
    assert get("/metrics", adas).status_code == 401
    client.force_login(ada)
    assert client.get("/metrics").status_code == 401


def test_an_admins_browser_may_look(root: Any, client: Client) -> None:
    client.force_login(root)
    assert b"modelyard_info" in client.get("/metrics").content


# --- readiness


@pytest.fixture
def all_well(monkeypatch: pytest.MonkeyPatch, gateways: None) -> None:
    for name in heartbeats.PROCESSES:
        heartbeats.beat(name)
    monkeypatch.setattr(health, "_broker", lambda: health.Part(True, "answers"))


def test_ready_when_every_part_works(all_well: None) -> None:
    answer = get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("name", heartbeats.PROCESSES)
def test_a_silent_process_is_seen(all_well: None, name: str, admins_key: Any) -> None:
    Heartbeat.objects.filter(name=name).update(at=timezone.now() - timedelta(seconds=50))
    assert get("/readyz").status_code == 503
    assert get(f"/readyz?part={name}").status_code == 503
    assert get("/readyz?part=database").status_code == 200
    told = get("/readyz", admins_key()).json()["parts"]
    assert not told[name]["ok"] and "50 s ago" in told[name]["what"]
    assert sum(not part["ok"] for part in told.values()) == 1


def test_strangers_hear_one_word_only() -> None:
    answer = get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "degraded"})
    assert get("/readyz?part=nonsense").status_code == 404


def test_a_gateway_without_news_is_seen(all_well: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_metrics, "snapshot_ages", lambda: {"0": 1.0, "1": 60.0})
    assert get("/readyz?part=gateway").status_code == 503


def test_a_broker_that_is_down_is_seen() -> None:
    assert health.look()["broker"] == health.Part(False, "does not answer")


def test_the_answer_is_kept_for_a_moment(all_well: None, django_assert_num_queries: Any) -> None:
    get("/readyz")
    with django_assert_num_queries(0):
        get("/readyz")


def test_a_failed_backup_raises_its_metric() -> None:
    Backup.objects.create(started_at=timezone.now(), is_scheduled=True, state=BackupState.FAILED, reason="disk full")
    assert value(metrics.render().decode(), "modelyard_backup_failed") == 1
    assert "disk full" in (backups.warning() or "")
