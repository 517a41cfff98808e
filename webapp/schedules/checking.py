"""What is wrong with a schedule before its first run: every fault, each with the field that it is about."""

from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from webapp import engines
from webapp.accounts.ownership import why_not_usable
from webapp.catalog.models import Hub
from webapp.deployments import fit
from webapp.deployments.models import Deployment
from webapp.deployments.states import Desired
from webapp.foundation.errors import Invalid
from webapp.inventory.models import Host
from webapp.schedules import crontab, gates, quantising
from webapp.schedules.models import Schedule
from webapp.schedules.spec import ScheduleSpec
from webapp.schedules.timing import Trigger

MOST_RECIPES = 12
MOST_INTERVAL_MIN = 60 * 24 * 366


@dataclass(frozen=True, slots=True)
class Fault:
    """`field` has the name that it has in a ScheduleSpec; `advice` may be empty."""

    field: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()


def faults(schedule: Schedule, spec: ScheduleSpec) -> list[Fault]:
    """All faults of the spec. `schedule` holds it already, unsaved."""
    found = [*of_name(schedule.name), *of_source(spec), *_of_owners(schedule, spec), *of_times(spec)]
    found += _of_recipes(schedule, spec)
    if not Host.objects.open_to([schedule.team]).filter(pk=spec.host.pk).exists():
        found.append(Fault("host", f"{spec.host.name} is not open to team {schedule.team.name}."))
    if spec.gate.needs_source and spec.measure is None:
        advice = "Enable evaluation, or remove the limits."
        found.append(Fault("gate", "The gate has limits on what is not evaluated.", advice))
    found += _of_prompts(spec)
    if spec.keep_last is not None and not 1 <= spec.keep_last <= 1000:
        found.append(Fault("keep_last", "Between 1 and 1000 results can be kept."))
    return [*found, *_of_deployment(schedule, spec)]


def refusal(faults: Iterable[Fault]) -> Invalid:
    """One refusal for all of them."""
    by_field: dict[str, list[Fault]] = {}
    for fault in faults:
        by_field.setdefault(fault.field, []).append(fault)
    every = [fault for found in by_field.values() for fault in found]
    if len(every) == 1:
        [fault] = every
        return Invalid(fault.what, fault.advice, fields={fault.field: fault.what})
    said = {name: " ".join(map(str, found)) for name, found in by_field.items()}
    told = "; ".join(f"{name}: {words}" for name, words in said.items())
    return Invalid("Validation failed.", told, fields=said)


def of_name(name: str) -> Iterator[Fault]:
    if not 1 <= len(name) <= 80:
        yield Fault("name", "A name of 1 to 80 characters is needed.")


def of_source(spec: Any) -> Iterator[Fault]:
    """`spec`: a ScheduleSpec, or as much of one as could be read."""
    if (spec.artifact is None) == (not spec.repo):
        yield Fault("artifact", "Name one source: an artifact, or a repository of a hub.")
    if spec.repo and (spec.hub is None or not spec.variant):
        yield Fault("variant" if spec.hub else "hub", "A repository needs its hub and the variant to fetch.")
    if spec.artifact is not None and spec.artifact.is_leaving:
        yield Fault("artifact", f"{spec.artifact} is being deleted.")
    if spec.trigger == Trigger.NEW_COMMIT and not spec.repo:
        yield Fault("trigger", "Only a hub repository can get new commits.", "Choose one, or a cron schedule.")


def _of_owners(schedule: Schedule, spec: ScheduleSpec) -> Iterator[Fault]:
    """What another team has and does not share, the schedule's team cannot use."""
    for name in ("artifact", "calibration", "judging", "prompts"):
        item = getattr(spec, name)
        if item is not None and not type(item).objects.open_to([schedule.team]).filter(pk=item.pk).exists():
            yield Fault(name, why_not_usable(item, schedule.team))
    if spec.hub is not None and not Hub.objects.open_to([schedule.team]).filter(pk=spec.hub.pk).exists():
        yield Fault("hub", f"Team {schedule.team.name} may not use {spec.hub.name}.")


def of_times(spec: Any) -> Iterator[Fault]:
    """`spec`: a ScheduleSpec, or as much of one as could be read."""
    try:
        ZoneInfo(spec.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Fault("zone", f"There is no time zone {spec.zone!r}.", "Write it like Europe/Berlin, or UTC.")
    if spec.trigger not in list(Trigger):
        yield Fault("trigger", f"{spec.trigger!r} is none of {', '.join(Trigger)}.")
    if spec.trigger == Trigger.CRON:
        try:
            crontab.parse(spec.cron)
        except crontab.BadCrontab as error:
            yield Fault("cron", str(error))
    if spec.trigger == Trigger.INTERVAL and not 5 <= spec.interval_minutes <= MOST_INTERVAL_MIN:
        yield Fault("interval_minutes", "An interval is 5 minutes to 366 days.")
    if (spec.window_start is None) != (spec.window_end is None):
        yield Fault("window_start" if spec.window_start is None else "window_end", "A window needs both ends.")
    if spec.window_start is not None and spec.window_start == spec.window_end:
        yield Fault("window_end", "The window ends when it starts.", "Leave both empty for no window.")
    if spec.idle_minutes is not None and not 1 <= spec.idle_minutes <= 1440:
        yield Fault("idle_minutes", "Idle time must be between 1 minute and 1 day.")


def _of_recipes(schedule: Schedule, spec: ScheduleSpec) -> Iterator[Fault]:
    if not 1 <= len(spec.recipes) <= MOST_RECIPES:
        yield Fault("recipes", f"Choose 1 to {MOST_RECIPES} recipes.")
    seen = []
    for recipe in spec.recipes:
        try:
            full = recipe.full()
            quantising.check(schedule, recipe)
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            yield Fault("recipes", f"{recipe.method}: {said}")
            continue
        except Invalid as refused:
            yield Fault("recipes", refused.what, refused.advice)
        if full in seen:
            yield Fault("recipes", f"{recipe.label} is listed twice.")
        seen.append(full)


def _of_prompts(spec: ScheduleSpec) -> Iterator[Fault]:
    if spec.gate.min_prompts_passed_percent is not None and spec.prompts is None:
        what = "The gate needs golden prompts, and none are chosen."
        yield Fault(gates.PROMPTS, what, "Choose some, or remove the limit.")


def _of_deployment(schedule: Schedule, spec: ScheduleSpec) -> Iterator[Fault]:
    deployment = spec.deployment
    if deployment is None:
        return
    if deployment.team_id != schedule.team_id:
        yield Fault("deployment", f"{deployment.name} belongs to another team.")
        return
    if deployment.desired_state == Desired.DELETED:
        yield Fault("deployment", f"{deployment.name} is being deleted.")
    engine = engines.get(deployment.engine)
    if spec.recipes and not any(recipe.what.makes in engine.formats for recipe in spec.recipes):
        made = ", ".join(sorted({recipe.what.makes for recipe in spec.recipes}))
        yield Fault("deployment", f"{engine.title}, which runs {deployment.name}, does not load {made}.")
    else:
        yield from _of_hardware(deployment, spec)
    if deployment.host_id is not None and deployment.host_id != spec.host.pk:
        where = f"{deployment.name} is pinned to another host than the one where results are made."
        yield Fault("deployment", where, "Make them on that host.")
    missing = sorted(set(deployment.placement_labels) - set(spec.host.labels))
    if missing:
        where = f"{deployment.name} runs none of the results: {spec.host.name} lacks the label {', '.join(missing)}."
        yield Fault("deployment", where, "Make them on a host that carries its placement labels.")


def _of_hardware(deployment: Deployment, spec: ScheduleSpec) -> Iterator[Fault]:
    """Results lie where they are made, so that host's processors or cards must run one of them."""
    formats = engines.get(deployment.engine).formats
    why = fit.why_none_on(deployment.spec, _labels(spec, formats), spec.host)
    if why:
        yield Fault("deployment", f"{deployment.name} could run none of the results on {spec.host.name}. {why}")


def _labels(spec: ScheduleSpec, formats: Container[str]) -> Iterator[str]:
    """What the results that are of these formats will be called; options that do not exist are another fault."""
    for recipe in spec.recipes:
        with suppress(ValidationError):
            if recipe.what.makes in formats:
                yield recipe.label
