"""What the end of a quantising job means: the new artifact, its copy and its measurements, or nothing at all."""

from typing import Any

from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact
from webapp.errors import Conflict
from webapp.inventory import services as inventory
from webapp.jobs.models import Job
from webapp.planner.facts import ModelFacts
from webapp.quantisation.models import Measurement
from webapp.quantisation.recipes import of_json

MEASURED = (
    "perplexity", "perplexity_error", "base_perplexity", "base_perplexity_error", "kl_divergence",
    "kl_divergence_error", "kl_divergence_p99", "top1_agreement_percent", "top1_agreement_percent_error",
)  # fmt: skip


def begin_again(job: Job) -> None:
    """Another try goes on behind the last finished step while its files are kept, else from the start."""
    if job.artifact is None:
        raise Conflict("The artifact was deleted.", "Quantise another one.")
    if not job.result.get("work_kept"):
        # Another place too: the one that was reserved may be why it failed.
        params = {name: value for name, value in job.params.items() if name != "artifact_id"}
        Job.objects.filter(pk=job.pk).update(phase=0, result={}, reached=0, params=params)


def finish(job: Job, result: dict[str, Any]) -> None:
    """The files have their place: now everybody may know. In the transaction that ends the job."""
    inventory.release(job.holder)
    parent = job.artifact
    if parent is None:
        raise Conflict("The artifact that this was made from was deleted.")
    published = result["publish"]
    recipe = of_json(job.params["recipe"])
    facts = _facts(published["facts"], parent, recipe.label)
    artifact = Artifact(
        pk=job.params["artifact_id"],
        catalog_model=parent.catalog_model,
        format=published["format"],
        quantisation=recipe.label,
        main_file=published["main_file"],
        files=[{"name": f["name"], "size_bytes": f["size"], "sha256": f["sha256"]} for f in published["files"]],
        facts=facts,
        size_bytes=sum(file["size"] for file in published["files"]),
        source={"kind": "made", "job": job.pk},
        origin=f"job:{job.pk}:{job.attempt}",
        parent=parent,
        recipe=_kept(job, result, parent),
        made_by=job,
    )
    catalog.add_made(artifact, job.host)
    _measure(job, artifact, parent, result)


def fail(job: Job) -> None:
    """Nothing was published. Its memory is free again."""
    inventory.release(job.holder)


def _facts(said: dict[str, Any], parent: Artifact, label: str) -> dict[str, Any]:
    facts = ModelFacts.from_json(said).as_json()
    facts["parameters"] = facts["parameters"] or (parent.facts or {}).get("parameters") or 0
    facts["quantisation"] = label
    return facts


def _kept(job: Job, result: dict[str, Any], parent: Artifact) -> dict[str, Any]:
    """How it was made, in words that stay."""
    tools = sorted({said["tool"] for said in result.values() if isinstance(said, dict) and said.get("tool")})
    recipe = of_json(job.params["recipe"])
    return {
        "recipe": job.params["recipe"],
        "calibration": job.params.get("calibration"),
        "judging": job.params.get("judging"),
        "measure": job.params.get("measure"),
        "prompts": job.params.get("prompts"),
        "tools": tools,
        "image": recipe.what.image,
        "steps": {name: result.get(name, {}).get("seconds") for name in job.params["steps"]},
        "parent": {
            "id": parent.pk, "name": str(parent), "format": parent.format, "origin": parent.origin,
            "files": parent.files,
        },
    }  # fmt: skip


def _measure(job: Job, artifact: Artifact, parent: Artifact, result: dict[str, Any]) -> None:
    wanted, asked = job.params.get("measure"), result.get("prompts")
    if not wanted and not asked:
        return
    size = wanted or {"context": 0, "chunks": 0}
    judged, speed = result.get("judge", {}), result.get("speed", {})
    values = {name: judged[name] for name in MEASURED if name in judged}
    values |= _sizes(artifact)
    base = judged.get("base_perplexity")
    if base:
        values["loss_percent"] = round((judged["perplexity"] / base - 1) * 100, 3)
    # The judging program's own load and memory are those of no engine: transformers, two models at once.
    values |= {name: speed[name] for name in ("load_s", "peak_memory_bytes", "speed") if speed.get(name)}
    if speed.get("missing"):
        values["speed_missing"] = str(speed["missing"])[:400]
    if asked:
        values |= {f"prompts_{name}": asked[name] for name in ("passed", "total", "passed_percent")}
        values["prompts_name"] = job.params["prompts"]["name"]
    about = {
        "host": job.host, "job": job, "text_name": job.params["judging"]["name"],
        "text_sha256": job.params["judging"]["sha256"], "context": size["context"], "chunks": size["chunks"],
        "tool": judged.get("tool", "")[:120],
    }  # fmt: skip
    tools = [said["tool"] for said in (judged, asked or {}, speed) if said.get("tool")]
    told = {**about, "tool": ", ".join(dict.fromkeys(tools))[:120]}
    Measurement.objects.create(artifact=artifact, against=parent, values=values, **told)
    if base:
        own = {"perplexity": base, "perplexity_error": judged.get("base_perplexity_error"), **_sizes(parent)}
        same = {name: about[name] for name in ("text_sha256", "context", "chunks", "tool")}
        if not Measurement.objects.filter(artifact=parent, **same).exists():
            Measurement.objects.create(artifact=parent, values=own, **about)


def _sizes(artifact: Artifact) -> dict[str, Any]:
    parameters = artifact.facts.get("parameters")
    weights = artifact.facts.get("weights_bytes") or artifact.size_bytes
    sizes: dict[str, Any] = {"size_bytes": artifact.size_bytes}
    return {**sizes, "bits_per_weight": round(weights * 8 / parameters, 3)} if parameters else sizes
