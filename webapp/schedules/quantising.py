"""The adapter to the app of quantisation: ask for a result, read what became of it."""

from dataclasses import dataclass, field
from typing import Any

from webapp.catalog.models import Artifact
from webapp.foundation.errors import Invalid
from webapp.jobs.models import Job
from webapp.quantisation import refusing
from webapp.quantisation import services as quantisation
from webapp.quantisation.models import Measurement
from webapp.quantisation.recipes import Recipe
from webapp.schedules.models import Schedule


@dataclass(frozen=True)
class Made:
    """What a job has made. `values` as webapp.quantisation.models.Measurement has them; empty: not measured."""

    artifact: Artifact | None
    values: dict[str, Any] = field(default_factory=dict)


def check(schedule: Schedule, recipe: Recipe) -> None:
    """Raise Invalid for a recipe that can never be made from the source, as far as that is known now."""
    assert recipe.label  # raises for options that do not exist
    for refusal in refusing.lack_of_instructions(recipe, schedule.host.name, schedule.host.processor.flags):
        raise Invalid(refusal.what, refusal.advice, fields={"recipes": refusal.what})
    if schedule.artifact is None:
        return
    looked = quantisation.preview(schedule.artifact, recipe, None, schedule.measuring)
    if looked.refusals:
        said = " ".join(refusal.what for refusal in looked.refusals)
        raise Invalid(f"{recipe.label}: {said}", looked.refusals[0].advice, fields={"recipes": said})


def lacks_on_host(schedule: Schedule) -> list[tuple[str, str]]:
    """What the host would have to get before any of the recipes can be made there, with how; empty when one can."""
    host = schedule.host
    lacking = [refusing.lack_of_image(recipe, host.name, host.facts) for recipe in schedule.recipe_list]
    told = {(refusal.what, refusal.advice): None for found in lacking for refusal in found}
    return list(told) if lacking and all(lacking) else []


def queue(schedule: Schedule, source: Artifact, recipe: Recipe) -> Job:
    """Have it made. Raises ServiceError."""
    texts = (schedule.calibration, schedule.measuring, schedule.judging, schedule.prompts)
    return quantisation.queue(None, schedule.team, source, recipe, schedule.host, *texts)


def made_by(job: Job) -> Made:
    """What a job has made that succeeded."""
    artifact = Artifact.objects.filter(made_by=job).select_related("catalog_model").first()
    if artifact is None:
        return Made(None)
    measured = Measurement.objects.filter(artifact=artifact, job=job).order_by("-id").first()
    return Made(artifact, measured.values if measured else {})
