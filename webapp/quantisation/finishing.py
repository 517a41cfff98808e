"""What the end of a quantising job means: the new artifact, its copy and its measurements, or nothing at all."""

from typing import Any

from webapp.accounts.ownership import check_usable
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact
from webapp.foundation.errors import Conflict
from webapp.inventory import services as inventory
from webapp.jobs.models import Job
from webapp.planner.facts import ModelFacts
from webapp.quantisation import measuring
from webapp.quantisation.recipes import of_json


def begin_again(job: Job) -> None:
    """Another try goes on behind the last finished step while its files are kept, else from the start."""
    if job.artifact is None:
        raise Conflict("The artifact was deleted.", "Quantise another one.")
    if job.team is not None:
        check_usable(job.artifact, job.team)
    if not job.result.get("work_kept"):
        # Another place too: the one that was reserved may be why it failed.
        params = {name: value for name, value in job.params.items() if name != "artifact_id"}
        Job.objects.filter(pk=job.pk).update(phase=0, result={}, reached=0, params=params)


def finish(job: Job, result: dict[str, Any]) -> None:
    """The files have their place: now everybody may know. In the transaction that ends the job."""
    inventory.release(job.reservation_owner)
    parent = job.artifact
    if parent is None:
        raise Conflict("The artifact that this was made from was deleted.")
    published = result["publish"]
    recipe = of_json(job.params["recipe"])
    facts = _facts(published["facts"], parent, recipe.label)
    artifact = Artifact(
        pk=job.params["artifact_id"],
        team=job.team,
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
    measuring.keep(job, artifact, parent, result)


def fail(job: Job) -> None:
    """Nothing was published. Its memory is free again."""
    inventory.release(job.reservation_owner)


give_up = fail


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
