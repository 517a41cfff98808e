"""Model files that came in every way there is, texts, and what was made of both."""

import zipfile
from typing import Any

import django

django.setup()

from django.utils import timezone  # noqa: E402
from people import ADDRESS, HUB_TOKEN, MODELS, here, of, told, who  # noqa: E402

from tests.catalog.gguf_file import gguf_bytes  # noqa: E402
from webapp.catalog import services as catalog  # noqa: E402
from webapp.catalog.models import Artifact  # noqa: E402
from webapp.jobs import fetching, kinds, logs  # noqa: E402
from webapp.jobs import services as jobs  # noqa: E402
from webapp.jobs.models import Job  # noqa: E402
from webapp.jobs.states import JobState  # noqa: E402
from webapp.quantisation import services as quantisation  # noqa: E402
from webapp.quantisation.recipes import Measure, Recipe  # noqa: E402


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
