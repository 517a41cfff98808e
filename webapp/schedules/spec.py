"""A schedule as people say it, before it is a row."""

from dataclasses import dataclass, field, fields
from datetime import time

from django.conf import settings

from webapp.catalog.models import Artifact, Hub
from webapp.deployments.models import Deployment
from webapp.inventory.models import Host
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.recipes import Measure, Recipe
from webapp.schedules.gates import Gate
from webapp.schedules.models import Schedule
from webapp.schedules.timing import Trigger


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule as people say it. Every field has the schedule's own name."""

    name: str
    host: Host
    recipes: tuple[Recipe, ...]
    artifact: Artifact | None = None
    hub: Hub | None = None
    repo: str = ""
    revision: str = ""
    variant: str = ""
    measure: Measure | None = field(default_factory=lambda: Measure(speed=False))
    calibration: CalibrationSet | None = None
    judging: CalibrationSet | None = None
    prompts: PromptSet | None = None
    trigger: str = Trigger.CRON
    cron: str = ""
    interval_minutes: int = 0
    zone: str = settings.TIME_ZONE
    window_start: time | None = None
    window_end: time | None = None
    idle_minutes: int | None = None
    gate: Gate = field(default_factory=Gate)
    deployment: Deployment | None = None
    allow_downtime: bool = False
    keep_last: int | None = None


def spec_of(schedule: Schedule) -> ScheduleSpec:
    """What a schedule says now, to be changed in part."""
    own = {part.name: getattr(schedule, part.name) for part in fields(ScheduleSpec)}
    read = {"recipes": tuple(schedule.recipe_list), "measure": schedule.measuring, "gate": schedule.limits}
    return ScheduleSpec(**{**own, **read})
