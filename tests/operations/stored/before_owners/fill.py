"""Fills an empty database through the services of the Modelyard that it runs in: README.md beside this says how."""

import json
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import django

django.setup()

from django.utils import timezone  # noqa: E402
from files import models, quantised, texts  # noqa: E402
from people import GIB, MODELS, here, hosts, of, people, told, who  # noqa: E402

from tests.catalog.gguf_file import gguf_bytes  # noqa: E402
from tests.parts.hub import running_hub  # noqa: E402
from webapp.accounts import keys  # noqa: E402
from webapp.catalog.models import Artifact, Hub  # noqa: E402
from webapp.deployments import lifecycle, presets, rolling, sharing  # noqa: E402
from webapp.deployments import services as deployments  # noqa: E402
from webapp.deployments.models import Deployment, Replica, Revision  # noqa: E402
from webapp.deployments.states import ReplicaState  # noqa: E402
from webapp.foundation import work_queue  # noqa: E402
from webapp.idempotency import services as idempotency  # noqa: E402
from webapp.operations import backups, heartbeats  # noqa: E402
from webapp.quantisation.recipes import Recipe  # noqa: E402
from webapp.samples import services as samples  # noqa: E402
from webapp.schedules import firing, targets  # noqa: E402
from webapp.schedules import services as schedules  # noqa: E402
from webapp.schedules.gates import Gate  # noqa: E402
from webapp.schedules.models import Notification, ScheduleRun  # noqa: E402
from webapp.usage import services as usage  # noqa: E402

WHY = lifecycle.Why(code="exit", text="The engine ended with exit code 1.", advice="Read its log.")


def walk(deployment: Deployment, *states: str) -> None:
    for replica in Replica.objects.select_related("deployment").filter(deployment=deployment, retired_at=None):
        grant = {"vendor": "", "device_ids": [], "memory_bytes": GIB, "cpu_count": 4}
        estimate = [{"name": "weights", "label": "Weights", "bytes": 1000, "basis": "exact"}]
        assert lifecycle.place(replica, lifecycle.Place(here(), GIB, {}, grant, estimate))
        for state in states:
            replica.refresh_from_db()
            assert lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), WHY, port=8080)
        lifecycle.record_observed(replica.pk, {"CPU weights": 1000})
        lifecycle.append_log(replica.pk, replica.generation, 1, "the engine starts\n", "2026-11-30T12:00:00Z")
        replica.refresh_from_db()
        if replica.state == ReplicaState.READY:
            lifecycle.record_proof(replica.pk)
    rolling.advance(deployment.pk)


def deploy(who_: str, name: str, artifact: Artifact, **columns: Any) -> Deployment:
    wanted = deployments.DeploymentSpec(name=name, artifact=artifact, **columns)
    return deployments.create(who(who_), of(who_), wanted)


READY = ("starting", "loading", "ready")


def deployed(found: dict[str, Artifact], result: Artifact) -> dict[str, Deployment]:
    bob, eve = who("bob"), who("eve")
    rows = {
        "chat": deploy("bob", "chat", found["starter"], replicas=2, aliases=("gpt-4o-mini",)),
        "resting": deploy("bob", "resting", found["fetched"], options={"context_length": 512}),
        "result": deploy("bob", "result", result, host=here()),
        "lab": deploy("eve", "lab", found["lab"], image="registry.example.org/llama:own"),
        "borrowed": deploy("eve", "borrowed", found["fetched"], placement_labels=("gpu",)),
        "both-1": deploy("bob", "both-1", found["both"]),
        "both-2": deploy("eve", "both-2", found["both"]),
        "leaving": deploy("eve", "leaving", found["signed"]),
    }
    walk(rows["chat"], *READY)
    walk(rows["lab"], "starting", "loading", "failed")
    walk(rows["result"], *READY)
    walk(rows["resting"], *READY, "draining", "stopping")
    deployments.stop(bob, rows["resting"])
    for replica in Replica.objects.select_related("deployment").filter(deployment=rows["resting"]):
        assert lifecycle.finish_stop(replica, ReplicaState.STOPPING, WHY)
    edit = deployments.DeploymentPatch(spec={"options": {"context_length": 1024}}, note="longer talks")
    deployments.edit(bob, rows["result"], edit)
    deployments.edit(bob, rows["chat"], deployments.DeploymentPatch(spec={"options": {"parallel_slots": 2}}))
    walk_new(rows["chat"])
    deployments.delete(eve, rows["leaving"])
    sharing.grant(bob, rows["chat"], "makers")
    presets.save(bob, of("bob"), "llamacpp", "Long talks", {"context_length": 2048})
    return rows


def walk_new(deployment: Deployment) -> None:
    """The new revision's replicas become ready, one after another, and the old ones go."""
    for _round in range(4):
        new = Replica.objects.select_related("deployment").filter(
            deployment=deployment, generation=Deployment.objects.get(pk=deployment.pk).generation, state="pending"
        )
        for replica in new:
            grant = {"vendor": "", "device_ids": [], "memory_bytes": GIB, "cpu_count": 4}
            assert lifecycle.place(replica, lifecycle.Place(here(), GIB, {}, grant, []))
            for state in READY:
                replica.refresh_from_db()
                lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), WHY, port=8080)
        rolling.advance(deployment.pk)
        for replica in (
            Replica.objects.select_related("deployment")
            .filter(deployment=deployment, retired_at__isnull=False)
            .exclude(state="stopped")
        ):
            for state in ("draining", "stopping"):
                replica.refresh_from_db()
                lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), WHY)
            replica.refresh_from_db()
            lifecycle.finish_stop(replica, ReplicaState.STOPPING, WHY)
        rolling.advance(deployment.pk)


def scheduled(found: dict[str, Artifact], kept: dict[str, Any], rows: dict[str, Deployment]) -> None:
    bob, eve = who("bob"), who("eve")
    recipe = Recipe(method="gguf", options={"type": "Q4_K_M", "imatrix": True})
    ours = schedules.create(bob, of("bob"), schedules.Wish(
        name="nightly", host=here(), recipes=(recipe,), artifact=found["lab"], crontab="0 2 * * *",
        gate=Gate(max_kl_divergence=0.05), calibration=kept["ours"], judging=kept["ours"], prompts=kept["prompts"],
        deployment=rows["result"], keep_last=3,
    ))  # fmt: skip
    theirs = schedules.create(eve, of("eve"), schedules.Wish(
        name="new revisions", host=here(), recipes=(recipe,), hub=Hub.objects.get(name="Ours"), repo="lab/tiny-GGUF",
        variant="tiny-Q8_0", when="new_revision",
    ))  # fmt: skip
    schedules.pause(eve, theirs)
    runs = {state: firing.begin(ours, timezone.now(), "bob") for state in ("running",)}
    assert runs["running"] is not None
    for state in ("succeeded", "refused", "failed", "cancelled"):
        ScheduleRun.objects.create(
            schedule=ours, due_at=timezone.now() - timedelta(days=1), state=state, reason=f"It {state}.",
            ended_at=timezone.now(), source=found["lab"], cost_seconds=90, cost="0.0125", asked_by="bob",
            results=[{"label": "Q4_K_M", "recipe": {}, "job": None, "refused": "", "artifact": None, "checks": []}],
        )  # fmt: skip
    hook, told["secrets"]["hook"] = targets.add(
        eve, of("eve"), "webhook", "https://hooks.example.org/x", ["job.failed"]
    )
    targets.test(eve, hook)
    Notification.objects.create(target=hook, event="job.failed", key="job:1", state="failed", answer="503")


def used(rows: dict[str, Deployment]) -> None:
    import uuid

    when = timezone.now().timestamp()
    key = keys.find_key(told["keys"]["bob"])
    assert key is not None
    replica = Replica.objects.filter(deployment=rows["chat"], state="ready").first()
    assert replica is not None
    usage.accept(
        {
            "id": uuid.uuid4().hex, "at": when - 60 * number, "key": key.pk, "user": key.user_id, "team": key.team_id,
            "deployment": rows["chat"].pk, "replica": replica.pk, "endpoint": "chat/completions",
            "request_id": f"r{number}", "status": 200 if number % 7 else 502,
            "outcome": "ok" if number % 7 else "engine_failed", "stream": bool(number % 2), "prompt_tokens": 120,
            "completion_tokens": 40 + number, "counted_by": "engine", "ttft_ms": 80.0 + number, "duration_ms": 900.0,
            "max_gap_ms": 30.0, "bytes_out": 5000,
        }
        for number in range(12)
    )  # fmt: skip
    for kind, subject in (("host", here().pk), ("deployment", rows["chat"].pk)):
        for minute in range(10):
            at = timezone.now() - timedelta(minutes=minute)
            samples.record([samples.Reading(kind, subject, {"cpu_percent": 10.0 + minute})], now=at)
    samples.thin_out()
    exchange, _is_mine = idempotency.claim("key:1", "a-key", idempotency.fingerprint("POST", "/api/v1/x", b"{}"))
    idempotency.finish(exchange, 201, "application/json", b'{"told": "once"}')


def specs() -> dict[str, Any]:
    """What each deployment and each revision is to run, as one may read it in any version."""

    def plain(row: Any) -> dict[str, Any]:
        return {
            "file": row.artifact.main_file, "engine": row.engine, "image": row.image, "options": row.options,
            "labels": row.placement_labels, "host": row.host.name if row.host else None,
        }  # fmt: skip

    now = {f"{row.team.slug}/{row.name}": plain(row) for row in Deployment.objects.all()}
    before = {f"{r.deployment.team.slug}/{r.deployment.name}/{r.number}": plain(r) for r in Revision.objects.all()}
    return {**now, **before}


def main() -> None:
    # Nobody listens to what is published.
    logging.disable(logging.WARNING)
    MODELS.mkdir(parents=True, exist_ok=True)
    sent = mock.patch.object(work_queue, "send", lambda *_words, **_more: None)
    name = mock.patch.object(heartbeats, "_MACHINE", "modelyard")
    with running_hub() as hub, sent, name:
        hub.add("lab/tiny-GGUF", {"tiny-Q8_0.gguf": gguf_bytes()})
        hub.add("plain/files", {"signed.gguf": gguf_bytes()})
        people()
        hosts()
        found = models(hub)
        kept = texts()
        result, _theirs = quantised(found["lab"], kept)
        rows = deployed(found, result)
        scheduled(found, kept, rows)
        used(rows)
        heartbeats.beat("worker")
        backups.take(Path("/srv/backups/first.tar.gz"))
    told["specs"] = specs()
    Path(sys.argv[1]).write_text(json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
