"""A schedule from its time to what people are served: two schedulers, two recipes, a gate, a rollout, and its news."""

import contextlib
import html
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pytest
from django.test import Client

from tests.parts.mail import MailServer, mail_server
from tests.parts.stack import Stack
from tests.parts.webhooks import verify
from tests.workers.acting import reload, wait_for
from tests.workers.test_rollouts_live import wait_for as wait_for_rollout
from tests.workers.traffic import Traffic

pytestmark = [pytest.mark.docker, pytest.mark.quant]
LIMIT_S = 400
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A web server that keeps what it is sent, where workers may send it."""
    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")

    class Hook(http.server.BaseHTTPRequestHandler):
        got: list[tuple[dict[str, str], bytes]] = []

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            Hook.got.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Hook.url = f"http://127.0.0.1:{server.server_port}/hook"  # type: ignore[attr-defined]
        yield Hook
        server.shutdown()


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as server:
        monkeypatch.setenv("MODELYARD_SMTP_URL", f"smtp://localhost:{server.port}")
        yield server


@pytest.fixture
def secret(hook: Any, post: MailServer, ada: Any, team: Any) -> str:
    """The team is told of every end, by web and by mail; the secret that signs."""
    from webapp.schedules import notifying, targets

    targets.add(ada, team, "mail", "team@example.org", list(notifying.EVENTS))
    return targets.add(ada, team, "webhook", hook.url, list(notifying.EVENTS))[1]


@pytest.fixture
def key(ada: Any, team: Any) -> str:
    from webapp.accounts import services as accounts

    return accounts.create_key(ada, team, "traffic", ["inference"])[1]


@pytest.fixture
def served(gguf_source: Any, secret: str, key: str, plant: Stack, quantisers: Any, ada: Any, team: Any) -> Any:
    """The source as a running deployment, behind web and gateway."""
    from webapp.deployments import services
    from workers.launcher import images

    with contextlib.closing(docker.DockerClient(quantisers.endpoint, timeout=600)) as client:
        images.ensure_local(client, images.LLAMACPP)
    plant.start("web", "gateway")
    spec = services.DeploymentSpec("tiny", artifact=gguf_source, options={"context_length": 512, "threads": 1})
    deployment = services.create(ada, team, spec)
    wait_for_rollout(deployment, "done", 120)
    return deployment


@pytest.fixture
def rivals(served: Any) -> Iterator[None]:
    """A second worker and a second clock beside the first ones."""
    second = Stack("second")
    try:
        second.start("worker", "beat")
        yield
    finally:
        second.stop()


@pytest.fixture
def scheduled(served: Any, gguf_source: Any, machine: Any, ada: Any, team: Any) -> Callable[..., Any]:
    """A schedule of these limits: three bits if they are good enough, else eight."""
    from webapp.quantisation.recipes import Measure, Recipe
    from webapp.schedules import services
    from webapp.schedules.gates import Gate

    recipes = tuple(Recipe(options={"type": name, "requantise": True, "imatrix": False}) for name in ("Q3_K_S", "Q8_0"))

    def make(**limits: float) -> Any:
        spec = services.ScheduleSpec(
            name="nightly", host=machine, recipes=recipes, artifact=gguf_source, cron="0 2 * * *", deployment=served,
            measure=Measure(chunks=2, context=128, speed=False), gate=Gate(**limits), allow_downtime=True,
        )  # fmt: skip
        return services.create(ada, team, spec)

    return make


def is_due(schedule: Any) -> Any:
    """Its time has come: the run that a sweep begins."""
    from webapp.schedules.models import ScheduleRun

    type(schedule).objects.filter(pk=schedule.pk).update(next_due_at=PAST)
    wait_for(ScheduleRun.objects.exists, 60)
    return ScheduleRun.objects.get()


def ended(run: Any) -> Any:
    wait_for(lambda: reload(run).has_ended, LIMIT_S)
    print(run.state, run.reason, [(r["label"], r.get("values", {}).get("kl_divergence")) for r in run.results])
    return run


@pytest.mark.usefixtures("rivals")
def test_a_due_schedule_fires_once_and_serves_the_first_result_that_is_good_enough(
    scheduled: Any, served: Any, plant: Stack, secret: str, hook: Any, post: MailServer, key: str
) -> None:
    from webapp.schedules.models import Notification, ScheduleRun

    schedule = scheduled(max_kl_divergence=0.02, min_top1_agreement_percent=85)
    with Traffic(plant.port, key, "tiny", per_s=0.5, tokens=4, are_numbered=False) as traffic:
        run = ended(is_due(schedule))
    assert (run.state, ScheduleRun.objects.count(), run.due_at) == ("succeeded", 1, PAST)
    small, large = run.results
    assert (small["is_passed"], large["is_passed"]) == (False, True)
    assert "Q3_K_S: KL divergence is" in run.reason and "above the limit 0.02" in run.reason
    assert reload(served).artifact_id == large["artifact"] and served.rollouts.get(number=run.rollout).state == "done"
    assert traffic.failures == [] and traffic.asked > 5
    # Two jobs and the run, by web and by mail; the sweep finds ends of jobs.
    wait_for(lambda: Notification.objects.filter(state="sent").count() == 6, 60)
    assert {row.event for row in Notification.objects.all()} == {"job.succeeded", "schedule.succeeded"}
    assert any("Schedule nightly: succeeded" in message["Subject"] for message in post.messages)
    assert all(verify(secret, headers, body) for headers, body in hook.got) and len(hook.got) == 3


def test_a_gate_that_refuses_every_result_keeps_them_and_serves_nothing_anew(
    scheduled: Any, served: Any, gguf_source: Any, secret: str, hook: Any, quantisers: Any, ada: Any
) -> None:
    from webapp.catalog.models import Artifact

    # No file of fewer bits is exactly like its source.
    schedule = scheduled(max_kl_divergence=0, min_top1_agreement_percent=100)
    run = ended(is_due(schedule))
    assert (run.state, run.served, run.rollout) == ("rejected", "", None)
    for label in ("Q3_K_S", "Q8_0"):
        assert f"{label}: KL divergence is" in run.reason
    assert run.reason.startswith("Nothing was deployed.") and run.advice == "Relax the gate or change the recipe."
    made = Artifact.objects.filter(parent=gguf_source)
    assert {artifact.pk for artifact in made} == {result["artifact"] for result in run.results}
    assert all(on_disk(quantisers, artifact) == artifact.size_bytes for artifact in made)
    assert reload(served).artifact_id == gguf_source.pk and served.rollouts.count() == 1
    assert served.replicas.get().state == "ready"
    page = Client()
    page.force_login(ada)
    text = html.unescape(page.get(f"/schedules/{schedule.pk}/").content.decode())
    assert run.reason in text and run.advice in text and text.count("not passed") >= 2
    wait_for(lambda: any(json.loads(body)["event"] == "schedule.rejected" for _headers, body in hook.got), 60)
    headers, body = next(got for got in hook.got if json.loads(got[1])["event"] == "schedule.rejected")
    said = verify(secret, headers, body)
    assert said["reason"] == run.reason
    assert [result["is_passed"] for result in said["results"]] == [False, False] and said["served"] == ""


def on_disk(engine: Any, artifact: Any) -> int:
    """Bytes of the artifact's main file in the models volume."""
    with contextlib.closing(engine.client()) as client:
        volume = Path(client.inspect_volume("modelyard-models")["Mountpoint"])
    return (volume / str(artifact.pk) / artifact.main_file).stat().st_size
