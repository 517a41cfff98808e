"""A schedule from its time to what people are served: two schedulers, two recipes, a gate, a rollout, and its news."""

import contextlib
import hashlib
import hmac
import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import docker
import pytest

from tests.parts.mail import MailServer, mail_server
from tests.parts.stack import Stack
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
        got: list[tuple[str, bytes]] = []

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            Hook.got.append((self.headers["X-Modelyard-Signature"], body))
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
    """The source as a running deployment, behind web and gateway; a second worker and a second clock beside it."""
    from webapp.deployments import services
    from workers.launcher import images

    with contextlib.closing(docker.DockerClient(quantisers.endpoint, timeout=600)) as client:
        images.ensure_llamacpp_image(client)
    second = Stack("second")
    try:
        plant.start("web", "gateway")
        second.start("worker", "beat")
        wish = services.Wish("tiny", gguf_source, options={"context_length": 512, "threads": 1})
        deployment = services.create(ada, team, wish)
        wait_for_rollout(deployment, "done", 120)
        yield deployment
    finally:
        second.stop()


@pytest.fixture
def schedule(served: Any, gguf_source: Any, machine: Any, ada: Any, team: Any) -> Any:
    """Three bits if they are good enough, else eight."""
    from webapp.quantisation.recipes import Measure, Recipe
    from webapp.schedules import services
    from webapp.schedules.gates import Gate

    recipes = tuple(Recipe(options={"type": name, "requantise": True, "imatrix": False}) for name in ("Q3_K_S", "Q8_0"))
    wish = services.Wish(
        name="nightly", host=machine, recipes=recipes, artifact=gguf_source, crontab="0 2 * * *", deployment=served,
        measure=Measure(chunks=2, context=128, speed=False),
        gate=Gate(max_kl_divergence=0.02, min_top1_agreement_percent=85), may_gap=True,
    )  # fmt: skip
    return services.create(ada, team, wish)


def ended(run: Any) -> Any:
    wait_for(lambda: reload(run).has_ended, LIMIT_S)
    print(run.state, run.reason, [(r["label"], r.get("values", {}).get("kl_divergence")) for r in run.results])
    return run


def test_a_due_schedule_fires_once_and_serves_the_first_result_that_is_good_enough(
    schedule: Any, served: Any, plant: Stack, secret: str, hook: Any, post: MailServer, key: str
) -> None:
    from webapp.schedules.models import Notification, ScheduleRun

    with Traffic(plant.port, key, "tiny", per_s=0.5, tokens=4, are_numbered=False) as traffic:
        type(schedule).objects.filter(pk=schedule.pk).update(next_due_at=PAST)
        wait_for(ScheduleRun.objects.exists, 60)
        run = ended(ScheduleRun.objects.get())
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
    assert all(is_genuine(secret, header, body) for header, body in hook.got) and len(hook.got) == 3


def is_genuine(secret: str, header: str, body: bytes) -> bool:
    """As the help tells a receiver to check it."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"])
