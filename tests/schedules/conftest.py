"""A schedule of ada's, and jobs that end as the watcher would end them."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone

FACTS = {
    "architecture": "llama", "layers": 30, "heads": 9, "kv_heads": 3, "embedding_length": 576, "vocabulary": 49152,
    "feed_forward_length": 1536, "weights_bytes": 269_000_000, "mapped_bytes": 269_000_000, "parameters": 134_515_008,
    "context_length": 8192, "quantisation": "F16",
    "kv_groups": [{"layers": 30, "key_elements": 192, "value_elements": 192}],
}  # fmt: skip
GOOD = {"kl_divergence": 0.01, "top1_agreement_percent": 97.0, "perplexity": 10.1, "base_perplexity": 10.0}
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def source(artifact: Any) -> Any:
    """The small model in 16 bits, present on the host."""
    artifact.quantisation, artifact.facts = "F16", FACTS
    artifact.save()
    return artifact


@pytest.fixture
def spec(source: Any, host: Any) -> Any:
    from webapp.quantisation.recipes import Recipe
    from webapp.schedules.gates import Gate
    from webapp.schedules.services import ScheduleSpec

    recipe = Recipe(method="gguf", options={"type": "Q4_K_M"})
    return ScheduleSpec(
        name="nightly", host=host, recipes=(recipe,), artifact=source, cron="0 2 * * *",
        gate=Gate(max_kl_divergence=0.05),
    )  # fmt: skip


@pytest.fixture
def schedule(spec: Any, ada: Any, team: Any) -> Any:
    from webapp.schedules import services

    return services.create(ada, team, spec)


@pytest.fixture
def make_schedule(spec: Any, ada: Any, team: Any) -> Callable[..., Any]:
    """A schedule with other columns: make_schedule(name="x", keep_last=1)."""
    from webapp.schedules import services

    return lambda **columns: services.create(ada, team, replace(spec, **columns))


@pytest.fixture
def overdue(schedule: Any) -> Any:
    """The schedule, due since long ago."""
    type(schedule).objects.filter(pk=schedule.pk).update(next_due_at=PAST)
    schedule.refresh_from_db()
    return schedule


@pytest.fixture
def go(db: None) -> Callable[..., Any]:
    """Look at a run now, as many times as asked: go(run, 3); answers the run as it then is."""
    from webapp.schedules.models import ScheduleRun
    from workers import controllers

    def look(run: Any, times: int = 1) -> Any:
        for _time in range(times):
            controllers.work("schedules.advance", run.pk)
        return ScheduleRun.objects.get(pk=run.pk)

    return look


@pytest.fixture
def end_job(db: None) -> Callable[..., Any]:
    """End a job as its containers would: with a result that was measured so, or failed."""
    from webapp.catalog import services as catalog
    from webapp.jobs import services as jobs
    from webapp.jobs.models import Job
    from webapp.jobs.states import JobState
    from webapp.quantisation import finishing

    def end(job: Any, values: Any = None, failed: str = "", prompts: Any = None) -> Any:
        job = Job.objects.get(pk=job.pk)
        assert jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
        if failed:
            assert jobs.move(job, JobState.RUNNING, JobState.FAILED, failed)
            return None
        reserved = catalog.reserve_artifact_id(job.artifact.catalog_model)
        Job.objects.filter(pk=job.pk).update(params={**job.params, "artifact_id": reserved})
        job.refresh_from_db()
        name = job.params["file"]
        published = {
            "facts": FACTS, "format": "gguf", "main_file": name,
            "files": [{"name": name, "size": 1000, "sha256": "cd" * 32}],
        }  # fmt: skip
        finishing.finish(job, {"publish": published, "judge": values or GOOD, "prompts": prompts})
        assert jobs.move(job, JobState.RUNNING, JobState.SUCCEEDED)
        return job.artifact.made.get(pk=reserved)

    return end


@pytest.fixture
def deliver(db: None) -> Callable[[int], None]:
    """Carry out the message to the workers about this notification."""
    from workers import controllers

    return lambda pk: controllers.work("schedules.deliver", pk)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A web server on this machine that keeps what it is sent; `status` is what it answers."""
    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")

    class Receiver(BaseHTTPRequestHandler):
        status, got, paths = 200, [], []

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            Receiver.got.append((dict(self.headers), body))
            Receiver.paths.append(self.path)
            self.send_response(Receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args):
            pass

    Receiver.got, Receiver.paths = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield Receiver
        server.shutdown()


@pytest.fixture
def told(receiver: Any, ada: Any, team: Any) -> Any:
    """A target that is told everything, and its secret."""
    from webapp.schedules import notifying, targets

    return targets.add(ada, team, "webhook", receiver.url, list(notifying.EVENTS))
