"""The containers of a quantising job: our own tools at both ends, the quantiser's in between.

Each has no network, the models volume read-only and one folder of its own to write to, which lies inside that same
volume: the result gets its place by a rename.
"""

import json
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from webapp.accounts.ownership import check_usable
from webapp.catalog import images
from webapp.catalog import services as catalog
from webapp.control import lease
from webapp.foundation.errors import ServiceError
from webapp.jobs.models import Job
from webapp.quantisation import measuring, plan
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.recipes import of_json
from workers.controllers.job.beginning import CannotBegin
from workers.runtime import specs
from workers.runtime.base import ContainerSpec, Runtime

# Failures that another try cannot mend with what is there, or whose files take the room that is lacking.
THROWN_AWAY = frozenset({"disk_full", "bad_source", "bad_job", "unknown_architecture"})
# Tools map the whole model and take what they can get; the limit is where the kernel ends them.
MEMORY_MARGIN = 1.25
LEAST_MEMORY_BYTES = 2 * 1024**3


class Quantise:
    """Make a smaller artifact out of one, and measure it."""

    image_advice = "Run `make quantizers` on that machine: it builds what is missing."
    memory_advice = "Free memory on the host or choose one with more, then try again."

    def steps(self, job: Job) -> tuple[str, ...]:
        return tuple(job.params["steps"])

    def memory_bytes(self, job: Job) -> int:
        return int(job.params["needs"]["memory_bytes"])

    def container(self, runtime: Runtime, job: Job, step: str, who: Mapping[str, str]) -> ContainerSpec:
        if job.artifact_id is None:
            raise CannotBegin(ServiceError("The artifact was deleted meanwhile.", "Quantise another one."))
        if step in plan.OURS:
            return specs.shelf_container(
                name=job.container_name, who=who, order=self._own_order(job, step), reads_input=step == "prepare"
            )
        image, program = plan.program(job.params, step)
        try:
            images.check(image)
        except ServiceError as refusal:
            raise CannotBegin(refusal) from refusal
        return specs.quantiser_container(
            name=job.container_name,
            who=who,
            image=image,
            program=program,
            order=plan.order(job.params, step),
            artifact_id=job.artifact_id,
            work=plan.folder(job.pk),
            memory_bytes=max(LEAST_MEMORY_BYTES, int(self.memory_bytes(job) * MEMORY_MARGIN)),
        )

    def secrets(self, job: Job, step: str) -> Mapping[str, Any] | None:
        """The texts come over the input: they are too long for an environment."""
        if step != "prepare":
            return None
        if job.team is not None and job.artifact is not None:
            try:
                check_usable(job.artifact, job.team)
            except ServiceError as refusal:
                raise CannotBegin(refusal) from refusal
        texts = {}
        for name, kept in (("calibration.txt", job.params["calibration"]), ("judging.txt", job.params["judging"])):
            if kept is not None:
                texts[name] = _text(kept)
        if job.params.get("prompts") is not None:
            texts["prompts.json"] = _prompts(job.params["prompts"])
        return {"texts": texts}

    def result(self, job: Job, said: Mapping[str, Any]) -> dict[str, Any] | None:
        """Kept by step, with the time at which it was seen to have ended."""
        step = self.steps(job)[job.phase]
        found = said.get("result")
        if not isinstance(found, dict):
            return None
        if found.get("missing"):
            found = {**found, "missing": plan.complaint_in_words(str(found["missing"]))}
        return {step: {**found, "ended_at": timezone.now().isoformat()}}

    def known(self, job: Job, step: str) -> dict[str, Any] | None:
        why = ""
        if step == plan.BASELINE:
            why = measuring.why_no_baseline(job)
        elif step == plan.SPEED:
            why = plan.why_untimed(of_json(job.params["recipe"]), job.host.processor.flags)
        return {step: {"missing": why}} if why else None

    def instead(self, job: Job, step: str, why: str) -> dict[str, Any] | None:
        return {step: {"missing": why}} if plan.is_dispensable(job.params, step) else None

    def keeps(self, code: str) -> bool:
        return code not in THROWN_AWAY

    def clean_up(self, job: Job, who: Mapping[str, str]) -> ContainerSpec | None:
        order = {"step": "remove", "work": plan.folder(job.pk), "artifact": job.params.get("artifact_id")}
        return specs.shelf_container(name=f"{job.container_name}-clean", who=who, order=order, reads_input=False)

    def _own_order(self, job: Job, step: str) -> dict[str, Any]:
        work = plan.folder(job.pk)
        if step == "prepare":
            source = job.params["source"]
            return {
                "step": step, "work": work, "source": source["folder"], "files": source["files"],
                "needed_bytes": job.params["needs"]["disk_bytes"], "lets_code": _lets_code(job),
            }  # fmt: skip
        source = job.params["source"]["folder"]
        return {
            "step": step, "work": work, "artifact": _reserved(job), "source": source, "lets_code": _lets_code(job),
        }  # fmt: skip


def _lets_code(job: Job) -> bool:
    return job.artifact is not None and catalog.lets_code(job.artifact.source)


def _reserved(job: Job) -> int:
    """The new artifact's id, written down before anything gets its name."""
    there = job.params.get("artifact_id")
    if there is None:
        assert job.artifact is not None
        there = catalog.reserve_artifact_id(job.artifact.catalog_model)
        lease.note(job, params={**job.params, "artifact_id": there})
    return int(there)


def _prompts(kept: Mapping[str, Any]) -> str:
    row = PromptSet.objects.filter(pk=kept["id"], sha256=kept["sha256"]).first()
    if row is None:
        raise CannotBegin(
            ServiceError(f"The golden prompts {kept['name']} are gone.", "Choose others and quantise again.")
        )
    return json.dumps(row.prompts)


def _text(kept: Mapping[str, Any]) -> str:
    row = CalibrationSet.objects.filter(sha256=kept["sha256"]).first()
    if row is None:
        raise CannotBegin(ServiceError(f"The text {kept['name']} is gone.", "Choose another text and quantise again."))
    return row.text
