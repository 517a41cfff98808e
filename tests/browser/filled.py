"""An installation with something of every kind, named as a hostile person would name it: what every page has to show.

Runs inside the site's own process (`Site.do`). A room that gets new things adds a function here and its samples to
`fill`'s answer; the crawl says which address it could not fill.
"""

from datetime import timedelta
from typing import Any

from django.utils import timezone

GIB = 1024**3
# Text that does something unless every page treats it as text.
SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '"><img src=//evil.example/x onerror=window.hacked=1>'
HOSTILE = f"{SCRIPT}{IMAGE}{{{{7*7}}}}</textarea></title><svg onload=window.hacked=1>"
LONG = "w" * 70


def fill() -> dict[str, dict[str, Any]]:
    """Fill the database; answers with one value per URL parameter: {room: {parameter: value}}, "" for any room."""
    ada, team = _people()
    host = _hosts()
    model, artifact = _models(host)
    deployment, replica = _deployments(ada, team, host, artifact)
    job = _jobs(ada, team, host, artifact)
    key = _keys(ada, team)
    schedule, run, target = _schedules(ada, team, host, artifact, deployment)
    _usage(ada, team, deployment, key)
    text = _quantised(team, host, artifact, job)
    return {
        "quantisation": {"pk": artifact.pk, "slug": model.slug, "text_id": text.pk, "prompts_id": _prompts(team).pk},
        "deployments": {"pk": deployment.pk, "number": replica.number, "revision": 1},
        "catalog": {"slug": model.slug, "pk": artifact.pk},
        "jobs": {"pk": job.pk},
        "schedules": {"pk": schedule.pk, "run_id": run.pk, "target_id": target.pk, "slug": team.slug},
        "inventory": {"pk": host.pk},
        "accounts": {"pk": key.pk},
        "dashboard": {"slug": "first-hour"},
        "teams": {"slug": team.slug, "pk": _invitation(ada, team), "person_id": _person("odd").pk},
        "people": {"pk": _person("odd").pk},
        "samples": {"kind": "deployment", "pk": deployment.pk},
        "": {"team": team.slug, "host": host.pk, "pk": _connection()},
    }


def _people() -> tuple[Any, Any]:
    from webapp.accounts.models import Membership, Team, User
    from webapp.accounts.services import create_first_admin

    ada, team = create_first_admin("ada", "ada-has-a-password", "Research")
    odd = User.objects.create_user("odd", email="odd@example.org", password="odd-has-a-password")
    User.objects.filter(pk=odd.pk).update(username=f"odd{IMAGE}"[:150], first_name=SCRIPT[:30])
    Membership.objects.create(user=odd, team=team)
    Team.objects.create(name=SCRIPT, slug="odd-team")
    return ada, team


def _person(begins: str) -> Any:
    from webapp.accounts.models import User

    return User.objects.get(username__startswith=begins)


def _invitation(ada: Any, team: Any) -> int:
    from webapp.accounts import links
    from webapp.accounts.models import Role

    link = links.invite(ada, team, Role.VIEWER, f"guest {HOSTILE}"[:200])[0]
    return int(link.pk)


def _connection() -> int:
    """A single sign-on account of somebody."""
    from allauth.socialaccount.models import SocialAccount

    made = SocialAccount.objects.create(user=_person("odd"), provider="sso", uid=f"uid {SCRIPT}"[:100])
    return int(made.pk)


def _hosts() -> Any:
    from webapp.inventory import services
    from webapp.inventory.models import Host

    host = services.register_host(None, f"{IMAGE} {LONG}"[:80], "unix:///var/run/docker.sock")
    gpus = tuple(
        services.AcceleratorFacts(
            index=index, uuid=f"GPU-{index}", vendor="nvidia", name=f"L4 {SCRIPT}", memory_bytes=24 * GIB
        )
        for index in range(2)
    )
    facts: dict[str, Any] = {"operating_system": HOSTILE, "runtimes": ["runc", SCRIPT]}
    facts["listeners"] = [{"address": "0.0.0.0:22"}]
    facts["processor"] = {"name": SCRIPT, "flags": ["sse2", "avx2", "avx512f", HOSTILE, *map(str, range(120))]}
    services.record_facts(
        host.pk,
        services.HostFacts(
            daemon_id="d", cpu_count=16, memory_bytes=64 * GIB, disk_total_bytes=500 * GIB,
            disk_free_bytes=20 * GIB, facts=facts, accelerators=gpus,
        ),
    )  # fmt: skip
    services.record_engine_network(host.pk, "modelyard-engines", "172.31.5.0/24")
    dead = services.register_host(None, "unreachable", "unix:///run/other.sock")
    services.record_lost(dead.pk, f"connection refused {HOSTILE}")
    host.refresh_from_db()
    assert Host.objects.count() == 2
    return host


def _models(host: Any) -> tuple[Any, Any]:
    from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel

    model = CatalogModel.objects.create(
        name=f"SmolLM2 {IMAGE}"[:120], slug="smollm2", architecture=f"llama{SCRIPT}"[:60], parameters=134_515_008,
        context_length=8192, licence=f"apache-2.0 {SCRIPT}"[:80],
    )  # fmt: skip
    facts = {
        "architecture": "llama", "name": HOSTILE, "layers": 30, "heads": 9, "kv_heads": 3, "embedding_length": 576,
        "vocabulary": 49152, "feed_forward_length": 1536, "weights_bytes": 143_000_000, "mapped_bytes": 143_000_000,
        "parameters": 134_515_008, "context_length": 8192, "quantisation": "Q8_0", "chat_template": HOSTILE,
        "kv_groups": [{"layers": 30, "key_elements": 192, "value_elements": 192}],
    }  # fmt: skip
    files = [{"name": f"{IMAGE}{LONG}.gguf", "size_bytes": 144_811_072, "sha256": "ab" * 32}]
    artifact = Artifact.objects.create(
        catalog_model=model, format="gguf", quantisation="Q8_0", main_file=files[0]["name"], size_bytes=144_811_072,
        files=files, facts=facts,
        source={"kind": "hub", "hub": 1, "hub_name": SCRIPT, "repo": HOSTILE, "commit": "c0ffee" * 6},
    )  # fmt: skip
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present", verified_at=timezone.now())
    CatalogModel.objects.create(name="Without files", slug="without-files")
    return model, artifact


def _deployments(ada: Any, team: Any, host: Any, artifact: Any) -> tuple[Any, Any]:
    from webapp.deployments import lifecycle, services
    from webapp.deployments.models import Deployment, Replica
    from webapp.deployments.states import ReplicaState
    from webapp.inventory import services as inventory

    walks = {
        "chat-small": ("placing", "starting", "loading", "ready"),
        "crashed": ("placing", "starting", "loading", "failed"),
        "loads": ("placing", "starting", "loading"),
        "waits": (),
    }
    why = lifecycle.Reason(code="test", text=f"It said {HOSTILE}"[:500], advice=f"Do {SCRIPT} less.")
    for name, states in walks.items():
        asked = services.DeploymentSpec(name=name, artifact=artifact, replicas=2 if name == "chat-small" else 1)
        deployment = services.create(ada, team, asked)
        for replica in deployment.replicas.all():
            replica = Replica.objects.select_related("deployment").get(pk=replica.pk)
            for state in states:
                assert lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), why)
                replica.refresh_from_db()
    deployment = Deployment.objects.get(name="chat-small")
    replica = deployment.replicas.get(number=1)
    cards = list(host.accelerators.all())
    inventory.reserve(replica.reservation_owner, host.pk, 3 * GIB, {cards[0].pk: 9 * GIB, cards[1].pk: 22 * GIB})
    inventory.reserve("job:99", host.pk, 2 * GIB)
    estimate = [{"name": "weights", "label": f"Weights {SCRIPT}", "bytes": 143_000_000, "basis": "exact"}]
    Replica.objects.filter(deployment=deployment).update(host=host)
    Replica.objects.filter(pk=replica.pk).update(
        address="172.31.5.3", port=8080, estimate=estimate, observed={"CPU weights": 143_000_000, HOSTILE: 5},
    )  # fmt: skip
    lifecycle.append_log(replica.pk, 1, 1, f"starting\n{HOSTILE}\n\x1b[31mred\x1b[0m\n" * 20, "now")
    loads = Replica.objects.get(deployment__name="loads")
    lifecycle.record_progress(loads.pk, 0.42, f"reading {SCRIPT}")
    Replica.objects.filter(deployment__name="waits").update(reason=HOSTILE[:500], advice="Add a host.")
    return deployment, replica


def _jobs(ada: Any, team: Any, host: Any, artifact: Any) -> Any:
    from webapp.jobs import services
    from webapp.jobs.models import Job
    from webapp.jobs.states import JobState

    running = services.queue_fetch(ada, team, artifact, host, {"source_path": f"/srv/{HOSTILE}"})
    services.move(running, JobState.QUEUED, JobState.RUNNING, HOSTILE[:500], started_at=timezone.now())
    services.record_progress(running.pk, "copy", 61_000_000, 144_811_072, "bytes")
    failed = Job.objects.create(
        kind="fetch", team=team, requested_by=ada, host=host, artifact=artifact, state="failed", reason=HOSTILE,
        advice=f"Mend {SCRIPT}", params={HOSTILE: [HOSTILE]}, result={"text": HOSTILE}, ended_at=timezone.now(),
    )  # fmt: skip
    assert failed.pk != running.pk
    return running


def _schedules(ada: Any, team: Any, host: Any, artifact: Any, deployment: Any) -> tuple[Any, Any, Any]:
    from webapp.schedules.models import Notification, Schedule, ScheduleRun, Target

    recipes = [{"method": "gguf", "options": {"type": kind}} for kind in ("Q4_K_M", "Q8_0")]
    schedule = Schedule.objects.create(
        team=team, name=f"nightly {SCRIPT}", artifact=artifact, host=host, recipes=recipes, trigger="cron",
        cron="*/10 * * * *", window_start="22:00", window_end="06:00", idle_minutes=10,
        gate={"max_kl_divergence": 0.05},
        measure={"chunks": 16}, deployment=deployment, is_served=True, keep_last=3, created_by=ada, note=HOSTILE[:500],
        next_due_at=timezone.now() + timedelta(minutes=7),
    )  # fmt: skip
    check = {
        "name": "max_kl_divergence", "label": "KL divergence", "limit": 0.05, "measured": 0.5, "is_passed": False,
        "words": HOSTILE,
    }  # fmt: skip
    results = [
        {"label": "Q4_K_M", "recipe": {}, "job": None, "refused": "", "artifact": artifact.pk, "checks": [check]},
        {"label": SCRIPT, "recipe": {}, "job": None, "refused": HOSTILE, "is_passed": False},
    ]
    ScheduleRun.objects.create(
        schedule=schedule, due_at=timezone.now(), state="rejected", reason=HOSTILE[:500], results=results,
        ended_at=timezone.now(), cost_seconds=90, cost="0.0125", asked_by=IMAGE,
    )  # fmt: skip
    run = ScheduleRun.objects.create(schedule=schedule, due_at=timezone.now(), reason=HOSTILE[:500])
    target = Target.objects.create(
        team=team, kind="webhook", address=f"https://hooks.example/{SCRIPT}", events=["job.failed"]
    )
    Notification.objects.create(
        target=target, event="test", key="test:1", payload={"text": HOSTILE}, state="failed", answer=HOSTILE[:300]
    )
    return schedule, run, target


def _quantised(team: Any, host: Any, artifact: Any, job: Any) -> Any:
    """A variant made here, measured, with its text, and a job with steps that failed."""
    from webapp.catalog.models import Artifact
    from webapp.jobs.models import Job
    from webapp.quantisation.models import CalibrationSet, Measurement

    text = CalibrationSet.objects.create(
        team=team, name=f"{SCRIPT}"[:80], licence=HOSTILE[:80], text=HOSTILE * 50, sha256="c" * 64, size_bytes=5000
    )
    kept = {"recipe": {"method": "gguf"}, "tools": [HOSTILE], "calibration": text.reference,
            "parent": {"id": artifact.pk, "name": HOSTILE}}  # fmt: skip
    made = Artifact.objects.create(
        catalog_model=artifact.catalog_model, format="gguf", quantisation="Q4_K_M", main_file="made.gguf",
        size_bytes=105_454_208, facts=artifact.facts, parent=artifact, made_by=job, recipe=kept,
        source={"kind": "made", "job": job.pk},
    )  # fmt: skip
    speed = [{"streams": count, "prompt_per_s": 400.5, "decode_per_s": 100.25} for count in (1, 8)]
    values = {"size_bytes": 105_454_208, "perplexity": 21.3, "loss_percent": 2.4, "kl_divergence": 0.04, "speed": speed}
    values |= {"prompts_passed": 8, "prompts_total": 10, "prompts_passed_percent": 80, "prompts_name": HOSTILE[:80]}
    about = {"host": host, "text_name": SCRIPT[:80], "text_sha256": "c" * 64, "tool": HOSTILE[:120]}
    Measurement.objects.create(artifact=artifact, values={"perplexity": 20.8, "speed": speed}, **about)
    Measurement.objects.create(artifact=made, against=artifact, values=values, **about)
    missed = [{"prompt": HOSTILE, "wanted": HOSTILE, "answer": HOSTILE}]
    Job.objects.create(
        kind="quantise", team=team, host=host, artifact=artifact, state="failed", phase=1, reason=HOSTILE[:500],
        params={"recipe": {"method": HOSTILE}, "steps": ["prepare", "convert", SCRIPT]},
        result={
            "prompts": {"passed": 1, "total": 2, "passed_percent": 50, "missed": missed},
            "prepare": {"seconds": 0.1}, "log": HOSTILE, "work_kept": True,
        },
        ended_at=timezone.now(),
    )  # fmt: skip
    return text


def _prompts(team: Any) -> Any:
    from webapp.quantisation.models import PromptSet

    asked = [{"prompt": HOSTILE, "way": "contains", "expected": HOSTILE[:500]}]
    return PromptSet.objects.create(team=team, name=SCRIPT[:80], prompts=asked, sha256="d" * 64)


def _keys(ada: Any, team: Any) -> Any:
    from webapp.accounts import services

    revoked, _text = services.create_key(ada, team, "old laptop")
    services.revoke_key(ada, revoked)
    later = timezone.now() + timedelta(days=30)
    key, _text = services.create_key(ada, team, f"{IMAGE}"[:80], ["inference"], later)
    return key


def _usage(ada: Any, team: Any, deployment: Any, key: Any) -> None:
    import time
    import uuid

    from webapp.usage import services

    services.accept(
        {
            "id": uuid.uuid4().hex, "at": time.time() - 60 * number, "key": key.pk, "user": ada.pk, "team": team.pk,
            "deployment": deployment.pk, "replica_id": None, "endpoint": "chat/completions", "request_id": f"r{number}",
            "status": 200 if number % 7 else 502, "outcome": "ok" if number % 7 else "engine_failed",
            "stream": bool(number % 2), "prompt_tokens": 120, "completion_tokens": 40 + number,
            "counted_by": "engine", "ttft_ms": 80.0 + number, "duration_ms": 900.0, "max_gap_ms": 30.0,
            "bytes_out": 5000,
        }
        for number in range(50)
    )  # fmt: skip
