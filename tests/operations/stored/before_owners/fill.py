"""Fills an empty database through the services of the Modelyard that it runs in: README.md beside this says how."""

import json
import logging
import sys
import zipfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import django

django.setup()

from django.utils import timezone  # noqa: E402

from tests.catalog.gguf_file import gguf_bytes  # noqa: E402
from tests.parts.hub import running_hub  # noqa: E402
from webapp.accounts import keys, links, services, sign_in, teams  # noqa: E402
from webapp.accounts.models import Role, Team, User  # noqa: E402
from webapp.catalog import services as catalog  # noqa: E402
from webapp.catalog.models import Artifact, Hub  # noqa: E402
from webapp.deployments import lifecycle, presets, rolling, sharing  # noqa: E402
from webapp.deployments import services as deployments  # noqa: E402
from webapp.deployments.models import Deployment, Replica, Revision  # noqa: E402
from webapp.deployments.states import ReplicaState  # noqa: E402
from webapp.foundation import work_queue  # noqa: E402
from webapp.idempotency import services as idempotency  # noqa: E402
from webapp.inventory import managing  # noqa: E402
from webapp.inventory import services as inventory  # noqa: E402
from webapp.inventory.models import Host  # noqa: E402
from webapp.jobs import fetching, kinds, logs  # noqa: E402
from webapp.jobs import services as jobs  # noqa: E402
from webapp.jobs.models import Job  # noqa: E402
from webapp.jobs.states import JobState  # noqa: E402
from webapp.operations import backups, heartbeats  # noqa: E402
from webapp.quantisation import services as quantisation  # noqa: E402
from webapp.quantisation.recipes import Measure, Recipe  # noqa: E402
from webapp.samples import services as samples  # noqa: E402
from webapp.schedules import firing, targets  # noqa: E402
from webapp.schedules import services as schedules  # noqa: E402
from webapp.schedules.gates import Gate  # noqa: E402
from webapp.schedules.models import Notification, ScheduleRun  # noqa: E402
from webapp.usage import services as usage  # noqa: E402

GIB = 1024**3
MODELS = Path("/srv/models")
PASSWORD = "a stored password, told to nobody"
HUB_TOKEN, ADDRESS = "hf_a_stored_token", "/plain/signed.gguf?signature=a-stored-signature"
CLIENT_SECRET = "a stored client secret"
WHY = lifecycle.Why(code="exit", text="The engine ended with exit code 1.", advice="Read its log.")
told: dict[str, Any] = {"password": PASSWORD, "keys": {}, "secrets": {}, "owners": {}, "teams": {}}


def people() -> None:
    ada, research = services.create_first_admin("ada", PASSWORD, "Research")
    makers = teams.create_team(ada, "Makers")
    teams.create_team(ada, "Nobody yet")
    for name, team, role in (
        ("bob", research, Role.OPERATOR), ("vic", research, Role.VIEWER),
        ("eve", makers, Role.ADMIN), ("max", makers, Role.OPERATOR),
    ):  # fmt: skip
        person = User.objects.create_user(name, f"{name}@example.org", PASSWORD)
        teams.add_member(ada, team, person, role)
        told["teams"][name] = team.slug
    links.invite(ada, research, Role.VIEWER, "for the guest")
    links.revoke_invitation(ada, links.invite(ada, makers, Role.ADMIN)[0])
    links.password_link(ada, who("vic"))
    for name, scopes in (("bob", keys.SCOPES), ("eve", keys.SCOPES), ("max", ("inference",))):
        told["keys"][name] = keys.create_key(who(name), of(name), f"{name}'s laptop", scopes)[1]
    told["keys"]["service"] = keys.create_service_key(who("eve"), makers, "nightly", ("inference", "manage"))[1]
    old = keys.create_key(who("bob"), research, "rotated")[0]
    told["keys"]["rotated"] = keys.rotate_key(who("bob"), old, 168)[1]
    revoked, told["revoked"] = keys.create_key(who("eve"), makers, "lost")
    keys.revoke_key(who("eve"), revoked)
    sign_in.configure(ada, sign_in.Wish(
        is_sso_on=True, sso_name="Our sign-in", issuer="https://id.example.org", client_id="modelyard",
        client_secret=CLIENT_SECRET, email_domains=("example.org",), rules=(("ml", makers, Role.OPERATOR),),
    ))  # fmt: skip
    told["secrets"]["client"] = CLIENT_SECRET
    allauth()


def allauth() -> None:
    """Rows of the library that people sign in with."""
    from allauth.account.models import EmailAddress
    from allauth.mfa.models import Authenticator
    from allauth.socialaccount.models import SocialAccount

    EmailAddress.objects.create(user=who("eve"), email="eve@example.org", verified=True, primary=True)
    SocialAccount.objects.create(user=who("eve"), provider="sso", uid="eve-at-the-provider")
    Authenticator.objects.create(user=who("max"), type="recovery_codes", data={"migrated_codes": ["00000000"]})


def who(name: str) -> User:
    return User.objects.get(username=name)


def of(name: str) -> Team:
    return Team.objects.get(slug=told["teams"][name])


def hosts() -> None:
    inventory.adopt_installation(None, hold=False)
    for name, gpus in (("local", 2), ("lent", 0), ("away", 0)):
        host = inventory.register_host(who("ada"), name, f"unix:///run/{name}.sock")
        cards = tuple(
            inventory.AcceleratorFacts(
                index=index, uuid=f"GPU-{name}-{index}", vendor="nvidia", name="NVIDIA L4", memory_bytes=24 * GIB
            )
            for index in range(gpus)
        )
        inventory.record_facts(host.pk, inventory.HostFacts(
            daemon_id=f"engine-of-{name}", cpu_count=16, memory_bytes=64 * GIB, disk_total_bytes=500 * GIB,
            disk_free_bytes=200 * GIB, facts={"docker": "27.1"}, accelerators=cards,
        ))  # fmt: skip
        inventory.record_engine_network(host.pk, "modelyard-engines", f"172.31.{host.pk}.0/24")
    change = managing.HostChange(labels=["gpu"], price_per_hour=Decimal(2), is_shared=False, teams=[of("eve")])
    managing.change_host(who("ada"), Host.objects.get(name="lent"), change)
    inventory.record_lost(Host.objects.get(name="away").pk, "connection refused")


def here() -> Host:
    return Host.objects.get(name="local")


def finished(job: Job, owner: str, **result: Any) -> Artifact:
    """As the watcher ends a job whose container said `result`."""
    job = Job.objects.get(pk=job.pk)
    jobs.record_progress(job.pk, "copy", 10, 100, "bytes", 5.0, "copying")
    logs.append(job.pk, job.attempt, 0, "what its container said\n", "2026-11-30T12:00:00Z")
    assert jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
    job.refresh_from_db()
    assert job.artifact is not None
    kinds.of(job).finish(job, result or {"files": _sums(job.artifact)})
    assert jobs.move(job, JobState.RUNNING, JobState.SUCCEEDED)
    found = Artifact.objects.get(made_by=job) if result else job.artifact
    Artifact.objects.filter(pk=found.pk).update(last_used_at=timezone.now())
    return owned(found, owner)


def owned(artifact: Artifact, owner: str, *, everybody: bool = False, users: tuple[str, ...] = ()) -> Artifact:
    told["owners"][artifact.main_file] = {"team": owner, "everybody": everybody, "users": list(users)}
    return artifact


def _sums(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        {"name": f["name"], "size": f["size_bytes"], "sha256": f.get("sha256") or "ab" * 32} for f in artifact.files
    ]


def models(hub: Any) -> dict[str, Artifact]:
    bob, eve, research, makers = who("bob"), who("eve"), of("bob"), of("eve")
    with zipfile.ZipFile(MODELS / "starter.whl", "w") as wheel:
        wheel.writestr("starter.gguf", gguf_bytes())
    for name in ("lab", "unlucky", "waiting", "running", "given-up", "both"):
        (MODELS / f"{name}.gguf").write_bytes(gguf_bytes())
    found = {}
    starter = fetching.import_file(who("ada"), research, here(), str(MODELS / "starter.whl"), "starter.gguf", "Starter")
    found["starter"] = owned(finished(starter, "research"), "research", everybody=True)
    lab = fetching.import_file(eve, makers, here(), str(MODELS / "lab.gguf"), None, "Lab")
    found["lab"] = owned(finished(lab, "makers"), "makers", users=("research",))
    failed = fetching.import_file(eve, makers, here(), str(MODELS / "unlucky.gguf"), None, "Unlucky")
    assert jobs.move(failed, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
    failed.refresh_from_db()
    kinds.of(failed).fail(failed)
    assert jobs.move(failed, JobState.RUNNING, JobState.FAILED, "The disk is full.", advice="Free some of it.")
    assert failed.artifact is not None
    owned(failed.artifact, "makers")
    given_up = fetching.import_file(bob, research, here(), str(MODELS / "given-up.gguf"), None, "Given up")
    jobs.cancel(bob, given_up)
    given_up.refresh_from_db()
    kinds.of(given_up).fail(given_up)
    assert jobs.move(given_up, JobState.QUEUED, JobState.CANCELLED, "cancelled by bob")
    assert given_up.artifact is not None
    owned(given_up.artifact, "research")
    for name, person, team in (("waiting", bob, research), ("running", eve, makers)):
        job = fetching.import_file(person, team, here(), str(MODELS / f"{name}.gguf"), None, name)
        if name == "running":
            assert jobs.move(job, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now(), container_id="c0ffee")
        assert job.artifact is not None
        owned(job.artifact, team.slug)
    row = catalog.save_hub(who("ada"), None, name="Ours", endpoint=hub.url, token=HUB_TOKEN, allows_private=True)
    other = catalog.save_hub(who("ada"), None, name="Makers' own", endpoint="https://hub.example.org", teams=[makers])
    catalog.approve_code(who("ada"), row, "lab/tiny-GGUF", "c0ffee")
    assert other.pk
    told["secrets"]["hub"] = HUB_TOKEN
    fetched = fetching.from_hub(bob, research, here(), row, "lab/tiny-GGUF", "tiny-Q8_0")
    found["fetched"] = owned(finished(fetched, "research"), "research", users=("makers",))
    address = hub.url + ADDRESS
    signed = fetching.from_url(eve, makers, here(), address, "Signed")
    found["signed"] = finished(signed, "makers")
    told["secrets"]["address"] = address
    both = catalog.add_artifact(catalog_file("both.gguf"), "Both")
    catalog.finish_copy(both, here(), _sums(both))
    # Brought by nobody who is known, and used by two teams: it was everybody's, and stays so.
    found["both"] = owned(both, "research", everybody=True)
    return found


def catalog_file(name: str) -> Any:
    from webapp.catalog import inspecting

    return inspecting.inspect_path(MODELS / name, "")


def texts() -> dict[str, Any]:
    bob, eve, research, makers = who("bob"), who("eve"), of("bob"), of("eve")
    asked = [{"prompt": "What is the capital of France?", "way": "contains", "expected": "Paris"}]
    found = {
        "ours": quantisation.add_text(bob, research, "Research's text", "We wrote this. " * 200, "own"),
        "theirs": quantisation.add_text(eve, makers, "Makers' text", "They wrote this. " * 200),
        "all": quantisation.add_text(who("ada"), None, "Everybody's text", "Anybody wrote this. " * 200),
        "prompts": quantisation.add_prompts(bob, research, "Research's prompts", asked),
        "their prompts": quantisation.add_prompts(eve, makers, "Makers' prompts", asked),
    }
    told["texts"] = {row.name: row.team.slug if row.team else None for row in found.values()}
    return found


def quantised(source: Artifact, kept: dict[str, Any]) -> tuple[Artifact, Artifact]:
    """Research makes one of the makers' file, and the makers make one themselves."""
    made = []
    for name, text, kind in (("bob", kept["ours"], "Q4_K_M"), ("eve", kept["theirs"], "Q5_K_M")):
        recipe = Recipe(method="gguf", options={"type": kind, "imatrix": True})
        measure = Measure(speed=True)
        prompts = kept["prompts"] if name == "bob" else None
        job = quantisation.queue(
            who(name),
            of(name),
            source,
            recipe,
            here(),
            calibration=text,
            measure=measure,
            judging=text,
            prompts=prompts,
        )
        reserved = catalog.reserve_artifact_id(source.catalog_model)
        Job.objects.filter(pk=job.pk).update(params={**job.params, "artifact_id": reserved})
        speed = [{"streams": 1, "prompt_per_s": 400.5, "decode_per_s": 100.25}]
        said = {
            "publish": {
                "facts": source.facts, "format": "gguf", "main_file": f"lab-{kind}.gguf",
                "files": [{"name": f"lab-{kind}.gguf", "size": 1000, "sha256": "cd" * 32}],
            },
            "judge": {"kl_divergence": 0.01, "perplexity": 10.1, "base_perplexity": 10.0, "tool": "llama.cpp b6000"},
            "speed": {"speed": speed, "load_s": 1.5, "tool": "llama.cpp b6000"},
            "baseline": {"speed": speed, "load_s": 1.9, "tool": "llama.cpp b6000"},
            "prompts": {"passed": 1, "total": 1, "passed_percent": 100.0} if prompts else None,
        }  # fmt: skip
        made.append(finished(job, of(name).slug, **said))
    failed = quantisation.queue(
        who("eve"), of("eve"), source, Recipe(method="gguf", options={"type": "Q8_0"}), here(), measure=Measure()
    )
    assert jobs.move(failed, JobState.QUEUED, JobState.RUNNING, started_at=timezone.now())
    Job.objects.filter(pk=failed.pk).update(phase=1, result={"prepare": {"seconds": 1.5}, "work_kept": True})
    failed.refresh_from_db()
    kinds.of(failed).fail(failed)
    assert jobs.move(failed, JobState.RUNNING, JobState.FAILED, "The container ran out of memory.")
    return made[0], made[1]


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
