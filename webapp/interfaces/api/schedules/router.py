"""REST endpoints of schedules."""

from dataclasses import replace
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts.models import User
from webapp.catalog.models import Artifact, Hub
from webapp.deployments.models import Deployment
from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.fields import RowId
from webapp.interfaces.api.pagination import Pages
from webapp.interfaces.api.schedules.schemas import CheckedOut, RunOut, ScheduleEdit, ScheduleIn, ScheduleOut
from webapp.interfaces.kit.dry_run import simulate
from webapp.interfaces.kit.references import resolve_references
from webapp.inventory.models import Host
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.schedules import services
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.services import ScheduleSpec

router = Router(tags=["schedules"])


@router.get("/schedules", response=list[ScheduleOut], summary="List schedules by name")
@paginate(Pages)
def list_schedules(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Schedule.objects.visible_to(caller(request)).for_list()


@router.post("/schedules", response={201: ScheduleOut}, summary="Create a schedule")
def create_schedule(request: HttpRequest, data: ScheduleIn) -> Status[Schedule]:
    user = caller(request)
    schedule = services.create(user, team_of(user, data.team), ScheduleSpec(**_rows(user, data.dict(), data)))
    return Status(201, get_schedule(request, schedule.pk))


@router.post("/schedules/check", response=CheckedOut, summary="Validate a schedule")
def check_schedule(request: HttpRequest, data: ScheduleIn) -> dict[str, Any]:
    user = caller(request)
    team, spec = team_of(user, data.team), ScheduleSpec(**_rows(user, data.dict(), data))
    simulate(lambda: services.create(user, team, spec))
    return {"warnings": services.check(user, team, spec)}


@router.get("/schedules/{schedule_id}", response=ScheduleOut, summary="Get a schedule")
def get_schedule(request: HttpRequest, schedule_id: RowId) -> Schedule:
    return get_object_or_404(Schedule.objects.visible_to(caller(request)).for_list(), pk=schedule_id)


@router.patch("/schedules/{schedule_id}", response=ScheduleOut, summary="Update a schedule")
def edit_schedule(request: HttpRequest, schedule_id: RowId, data: ScheduleEdit, dry_run: bool = False) -> Schedule:
    """With `dry_run` the answer is the schedule as it would be."""
    user = caller(request)
    schedule = get_schedule(request, schedule_id)
    spec = _changed(user, schedule, data)
    if dry_run:
        simulate(lambda: services.edit(user, schedule, spec))
        return schedule
    services.edit(user, schedule, spec)
    return get_schedule(request, schedule_id)


def _changed(user: User, schedule: Schedule, data: ScheduleEdit) -> ScheduleSpec:
    changes = _rows(user, data.dict(exclude_unset=True), data)
    changes = {name: value for name, value in changes.items() if value is not None or name not in _NEEDED}
    return replace(services.spec_of(schedule), **changes)


@router.delete("/schedules/{schedule_id}", response={204: None}, summary="Delete a schedule; its results are kept")
def delete_schedule(request: HttpRequest, schedule_id: RowId, dry_run: bool = False) -> Status[None]:
    """With `dry_run` it is only said whether that may be."""
    schedule = get_schedule(request, schedule_id)
    if dry_run:
        simulate(lambda: services.delete(caller(request), schedule))
    else:
        services.delete(caller(request), schedule)
    return Status(204, None)


@router.post("/schedules/{schedule_id}/pause", response=ScheduleOut, summary="Pause a schedule")
def pause_schedule(request: HttpRequest, schedule_id: RowId) -> Schedule:
    services.pause(caller(request), get_schedule(request, schedule_id))
    return get_schedule(request, schedule_id)


@router.post("/schedules/{schedule_id}/resume", response=ScheduleOut, summary="Resume a schedule")
def resume_schedule(request: HttpRequest, schedule_id: RowId) -> Schedule:
    services.resume(caller(request), get_schedule(request, schedule_id))
    return get_schedule(request, schedule_id)


@router.post("/schedules/{schedule_id}/runs", response={202: RunOut}, summary="Run a schedule now")
def run_schedule(request: HttpRequest, schedule_id: RowId) -> Status[ScheduleRun]:
    run = services.run_now(caller(request), get_schedule(request, schedule_id))
    return Status(202, ScheduleRun.objects.for_list().get(pk=run.pk))


@router.get("/schedules/{schedule_id}/runs", response=list[RunOut], summary="List runs of a schedule, newest first")
@paginate(Pages)
def list_runs(request: HttpRequest, schedule_id: RowId):  # type: ignore[no-untyped-def]
    schedule = get_schedule(request, schedule_id)
    return ScheduleRun.objects.filter(schedule=schedule).for_list()


@router.post("/schedule-runs/{run_id}/cancel", response={202: RunOut}, summary="Cancel a run and its jobs")
def cancel_run(request: HttpRequest, run_id: RowId) -> Status[ScheduleRun]:
    runs = ScheduleRun.objects.visible_to(caller(request)).for_list()
    services.cancel(caller(request), get_object_or_404(runs, pk=run_id))
    return Status(202, ScheduleRun.objects.for_list().get(pk=run_id))


_NEEDED = frozenset({"name", "host", "recipes"})


def _rows(user: User, said: dict[str, Any], data: ScheduleIn | ScheduleEdit) -> dict[str, Any]:
    """What was said with rows for ids; a row that this person does not see is none."""
    found = {name: value for name, value in said.items() if name != "team"}
    texts = CalibrationSet.objects.visible_to(user)
    seen: dict[str, Any] = {
        "artifact": Artifact.objects.visible_to(user).select_related("catalog_model"),
        "hub": Hub.objects.visible_to(user), "host": Host.objects.visible_to(user),
        "calibration": texts, "judging": texts, "prompts": PromptSet.objects.visible_to(user),
        "deployment": Deployment.objects.belonging_to(user).select_related("team"),
    }  # fmt: skip
    found |= resolve_references(**{name: (rows, found[name]) for name, rows in seen.items() if name in found})
    for name in ("gate", "measure"):
        if name in found:
            found[name] = getattr(data, name)
    if found.get("recipes") is not None:
        found["recipes"] = tuple(data.recipes or ())
    return found
