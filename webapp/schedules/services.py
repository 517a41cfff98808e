"""What people ask of schedules: one function per verb, called by page, API and command line alike."""

from dataclasses import dataclass, field, fields
from datetime import time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import ValidationError

from webapp import engines
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog.models import Artifact, Hub
from webapp.deployments.models import Deployment
from webapp.deployments.states import Desired
from webapp.errors import Conflict, Invalid
from webapp.events import services as events
from webapp.inventory.models import Host
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.recipes import Measure, Recipe
from webapp.schedules import crontab, firing, gates, quantising
from webapp.schedules.gates import Gate
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.timing import When

MOST_RECIPES = 12
MOST_INTERVAL_MIN = 60 * 24 * 366


@dataclass(frozen=True)
class Wish:
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
    when: str = When.CRONTAB
    crontab: str = ""
    interval_min: int = 0
    zone: str = settings.TIME_ZONE
    opens_at: time | None = None
    shuts_at: time | None = None
    idle_min: int | None = None
    gate: Gate = field(default_factory=Gate)
    deployment: Deployment | None = None
    may_gap: bool = False
    keep_last: int | None = None


def wish_of(schedule: Schedule) -> Wish:
    """What a schedule says now, to be changed in part."""
    own = {part.name: getattr(schedule, part.name) for part in fields(Wish)}
    read = {"recipes": tuple(schedule.recipe_list), "measure": schedule.measuring, "gate": schedule.limits}
    return Wish(**{**own, **read})


def create(user: User | None, team: Team, wish: Wish) -> Schedule:
    """Keep a schedule. Raises Invalid, Conflict or NotAllowed and then changes nothing."""
    return _save(user, Schedule(team=team, created_by=user), wish, "schedule.create")


def edit(user: User | None, schedule: Schedule, wish: Wish) -> Schedule:
    """Change a schedule; a run that has begun goes on as it began."""
    return _save(user, schedule, wish, "schedule.edit")


def check(user: User | None, team: Team, wish: Wish) -> list[str]:
    """Warnings about a wish that can be kept. Raises Invalid or NotAllowed for one that cannot."""
    schedule = _filled(Schedule(team=team, created_by=user), wish)
    _check(user, schedule, wish)
    return warnings(schedule)


def warnings(schedule: Schedule) -> list[str]:
    """What is allowed and yet probably not meant."""
    found = []
    if schedule.timing.never_meets_window(timezone.now()):
        found.append("No time of the crontab lies in the window: every run will wait until the window opens.")
    if schedule.is_served and not schedule.limits.is_set:
        found.append("There is no gate: every result is served, however much it lost.")
    if schedule.is_served and schedule.deployment is None:
        found.append("The deployment it served has been deleted: runs will fail until another one is chosen.")
    return found


def pause(user: User | None, schedule: Schedule) -> None:
    """Fire no more. What runs goes on."""
    _switch(user, schedule, is_paused=True)


def resume(user: User | None, schedule: Schedule) -> None:
    """Fire again, from the next time on; what was missed while it was paused stays missed."""
    _switch(user, schedule, is_paused=False)


def run_now(user: User | None, schedule: Schedule) -> ScheduleRun:
    """Run once at once: its window and the wish for quiet do not count. Raises Conflict while one runs."""
    require(user, schedule.team, Role.OPERATOR)
    with transaction.atomic():
        run = firing.begin(schedule, timezone.now(), user.username if user else "modelyard")
        if run is None:
            raise Conflict(f"{schedule.name} runs already.", "Wait for its end, or cancel the run.")
        audit(user, schedule.team, "schedule.run", schedule.name)
    return run


def cancel(user: User | None, run: ScheduleRun) -> None:
    """Ask a run to stop, its jobs too. Raises Conflict when it has ended."""
    require(user, run.schedule.team, Role.OPERATOR)
    with transaction.atomic():
        running = ScheduleRun.objects.filter(pk=run.pk, state__in=firing.RUNNING)
        if not running.update(is_cancel_wanted=True, next_look_at=timezone.now()):
            raise Conflict("The run has ended already.")
        audit(user, run.schedule.team, "schedule.cancel", run.schedule.name)
        firing.wake(run.schedule, run.pk)


def delete(user: User | None, schedule: Schedule) -> None:
    """Forget a schedule with its history. Its results stay. Raises Conflict while it runs."""
    require(user, schedule.team, Role.OPERATOR)
    with transaction.atomic():
        if ScheduleRun.objects.filter(schedule=schedule, state__in=firing.RUNNING).exists():
            raise Conflict(f"{schedule.name} runs at this moment.", "Cancel its run, then delete it.")
        audit(user, schedule.team, "schedule.delete", schedule.name)
        announce(schedule)
        schedule.delete()


def announce(schedule: Schedule) -> None:
    events.publish(f"schedules:{schedule.team_id}", f"schedule:{schedule.pk}")


def _save(user: User | None, schedule: Schedule, wish: Wish, verb: str) -> Schedule:
    _filled(schedule, wish)
    _check(user, schedule, wish)
    schedule.next_due_at = schedule.timing.next_due(timezone.now())
    schedule.note = ""
    try:
        with transaction.atomic():
            schedule.save()
            audit(user, schedule.team, verb, schedule.name, {"source": schedule.source, "when": schedule.rhythm})
            announce(schedule)
    except IntegrityError as error:
        message = f"The team has a schedule named {wish.name} already."
        raise Conflict(message, "Choose another name.", fields={"name": message}) from error
    return schedule


def _filled(schedule: Schedule, wish: Wish) -> Schedule:
    if (wish.hub, wish.repo, wish.revision) != (schedule.hub, schedule.repo, schedule.revision):
        schedule.seen_commit = ""
    for part in fields(Wish):
        setattr(schedule, part.name, getattr(wish, part.name))
    schedule.name = wish.name.strip()
    schedule.recipes = [recipe.model_dump() for recipe in wish.recipes]
    schedule.measure = wish.measure.model_dump() if wish.measure else None
    schedule.gate = wish.gate.model_dump(exclude_none=True)
    schedule.is_served = wish.deployment is not None
    return schedule


def _check(user: User | None, schedule: Schedule, wish: Wish) -> None:
    """Everything that can be known to be wrong before the first run."""
    require(user, schedule.team, Role.OPERATOR)
    if not schedule.name or len(schedule.name) > 80:
        raise _wrong("name", "A name of 1 to 80 characters is needed.")
    _check_source(wish)
    _check_times(wish)
    _check_recipes(schedule, wish)
    if not Host.objects.open_to([schedule.team]).filter(pk=wish.host.pk).exists():
        raise _wrong("host", f"{wish.host.name} is not open to team {schedule.team.name}.")
    if wish.gate.needs_source and wish.measure is None:
        raise _wrong("gate", "The gate needs what is not measured.", "Turn measuring on, or take the limits away.")
    _check_prompts(schedule, wish)
    for text in (wish.calibration, wish.judging):
        if text is not None and text.team_id not in (None, schedule.team_id):
            raise _wrong("calibration", f"The text {text.name} belongs to another team.")
    if wish.keep_last is not None and not 1 <= wish.keep_last <= 1000:
        raise _wrong("keep_last", "Between 1 and 1000 results can be kept.")
    _check_deployment(schedule, wish)


def _check_prompts(schedule: Schedule, wish: Wish) -> None:
    if wish.prompts is not None and wish.prompts.team_id != schedule.team_id:
        raise _wrong("prompts", f"The golden prompts {wish.prompts.name} belong to another team.")
    if wish.gate.min_prompts_passed_percent is not None and wish.prompts is None:
        what = "The gate needs golden prompts, and none are chosen."
        raise _wrong(gates.PROMPTS, what, "Choose some, or take the limit away.")


def _check_source(wish: Wish) -> None:
    if (wish.artifact is None) == (not wish.repo):
        raise _wrong("artifact", "Name one source: an artifact, or a repository of a hub.")
    if wish.repo and (wish.hub is None or not wish.variant):
        raise _wrong("variant" if wish.hub else "hub", "A repository needs its hub and the variant to fetch.")
    if wish.artifact is not None and wish.artifact.is_leaving:
        raise _wrong("artifact", f"{wish.artifact} is being deleted.")
    if wish.when == When.NEW_REVISION and not wish.repo:
        raise _wrong("when", "Only a repository of a hub can have a new revision.", "Choose one, or a crontab.")


def _check_times(wish: Wish) -> None:
    try:
        ZoneInfo(wish.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _wrong("zone", f"There is no time zone {wish.zone!r}.", "Write it like Europe/Berlin, or UTC.") from None
    if wish.when not in list(When):
        raise _wrong("when", f"{wish.when!r} is none of {', '.join(When)}.")
    if wish.when == When.CRONTAB:
        try:
            crontab.parse(wish.crontab)
        except crontab.BadCrontab as error:
            raise _wrong("crontab", str(error)) from error
    if wish.when == When.INTERVAL and not 5 <= wish.interval_min <= MOST_INTERVAL_MIN:
        raise _wrong("interval_min", "An interval is 5 minutes to 366 days.")
    if (wish.opens_at is None) != (wish.shuts_at is None):
        raise _wrong("opens_at" if wish.opens_at is None else "shuts_at", "A window needs both ends.")
    if wish.opens_at is not None and wish.opens_at == wish.shuts_at:
        raise _wrong("shuts_at", "The window shuts when it opens.", "Leave both empty for no window.")
    if wish.idle_min is not None and not 1 <= wish.idle_min <= 1440:
        raise _wrong("idle_min", "Between 1 minute and a day of quiet can be waited for.")


def _check_recipes(schedule: Schedule, wish: Wish) -> None:
    if not 1 <= len(wish.recipes) <= MOST_RECIPES:
        raise _wrong("recipes", f"Choose 1 to {MOST_RECIPES} recipes.")
    seen = []
    for recipe in wish.recipes:
        try:
            full = recipe.full()
            quantising.check(schedule, recipe)
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise _wrong("recipes", f"{recipe.method}: {said}") from error
        if full in seen:
            raise _wrong("recipes", f"{recipe.label} stands there twice.")
        seen.append(full)


def _check_deployment(schedule: Schedule, wish: Wish) -> None:
    deployment = wish.deployment
    if deployment is None:
        return
    if deployment.team_id != schedule.team_id:
        raise _wrong("deployment", f"{deployment.name} belongs to another team.")
    if deployment.desired_state == Desired.DELETED:
        raise _wrong("deployment", f"{deployment.name} is being deleted.")
    engine = engines.get(deployment.engine)
    if not any(recipe.what.makes in engine.formats for recipe in wish.recipes):
        made = ", ".join(sorted({recipe.what.makes for recipe in wish.recipes}))
        raise _wrong("deployment", f"{engine.title}, which runs {deployment.name}, does not load {made}.")
    if deployment.host_id is not None and deployment.host_id != wish.host.pk:
        where = f"{deployment.name} is pinned to another host than the one where results are made."
        raise _wrong("deployment", where, "Make them on that host.")


def _switch(user: User | None, schedule: Schedule, is_paused: bool) -> None:
    require(user, schedule.team, Role.OPERATOR)
    with transaction.atomic():
        schedule.is_paused = is_paused
        schedule.next_due_at = schedule.timing.next_due(timezone.now())
        schedule.save(update_fields=["is_paused", "next_due_at"])
        audit(user, schedule.team, "schedule.pause" if is_paused else "schedule.resume", schedule.name)
        announce(schedule)


def _wrong(field: str, what: str, advice: str = "") -> Invalid:
    return Invalid(what, advice, fields={field: what})
