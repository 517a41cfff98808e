"""Pages of schedules."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from webapp.accounts.models import Role, User
from webapp.accounts.teams import teams_of
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.following import follow
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.picking import clear_errors, is_search
from webapp.interfaces.kit.views import answer, carry_out, may, page_or_panel, person, view
from webapp.interfaces.pages.schedules.forms import ScheduleForm
from webapp.schedules import services
from webapp.schedules.models import Schedule, ScheduleRun

DAYS = 7
# A schedule that fires every five minutes shows so many times a day, then a number.
MOST_A_DAY = 4
SHOWN_RUNS = 20


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    following = follow(f"schedules:{team.pk}" for team in teams_of(user))
    panel, context = list_panel(user, request.GET)
    page = {**context, "following": following, "may_add": bool(teams_of(user, Role.OPERATOR))}
    return page_or_panel(request, "schedules/index.html", panel, page)


def list_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    rows = Schedule.objects.visible_to(user).for_list()
    found = listing(
        rows,
        asked,
        sorts={"name": ("name",), "next": ("next_due_at",), "host": ("host__name",)},
    )
    shown = list(found.page.object_list)
    last = ScheduleRun.objects.filter(schedule__in=shown).values("schedule").annotate(last=Max("pk")).values("last")
    newest = {run.schedule_id: run for run in ScheduleRun.objects.filter(pk__in=last).defer("results")}
    entries = [{"schedule": schedule, "last": newest.get(schedule.pk)} for schedule in shown]
    return "schedules/_list.html", {"listing": found, "entries": entries, "days": calendar(shown)}


def calendar(schedules: list[Schedule]) -> list[dict[str, Any]]:
    """The coming days with what fires on each: {day, entries: [{schedule, times, more}]}. Times are UTC."""
    first = timezone.now().date()
    days: list[dict[str, Any]] = [{"day": first + timedelta(days=n), "entries": []} for n in range(DAYS)]
    for schedule in schedules:
        by_day: dict[Any, list[Any]] = {}
        for at in schedule.upcoming(DAYS, most=DAYS * 24):
            by_day.setdefault(at.date(), []).append(at)
        for day in days:
            times = by_day.get(day["day"], [])
            if times:
                more = len(times) - MOST_A_DAY
                day["entries"].append({"schedule": schedule, "times": times[:MOST_A_DAY], "more": max(0, more)})
    return days


@view("GET")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    following = follow([f"schedule:{pk}"])
    panel, context = detail_panel(person(request), pk)
    return page_or_panel(request, "schedules/detail.html", panel, {**context, "following": following})


def detail_panel(user: User, pk: int) -> tuple[str, dict[str, Any]]:
    schedule = get_object_or_404(Schedule.objects.visible_to(user).for_list(), pk=pk)
    runs = list(ScheduleRun.objects.filter(schedule=schedule).for_list()[:SHOWN_RUNS])
    priced = [run.cost for run in runs if run.cost is not None]
    return "schedules/_panel.html", {
        "schedule": schedule,
        "runs": runs,
        "running": next((run for run in runs if not run.has_ended), None),
        "days": calendar([schedule]),
        "warnings": services.warnings(schedule),
        "would_fail": bool(services.certain_failures(schedule)),
        "spent_s": sum(run.cost_seconds for run in runs),
        "cost": sum(priced) if priced else None,
        "may_operate": may(user, schedule.team, Role.OPERATOR),
    }


@view("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    user = person(request)
    teams = teams_of(user, Role.OPERATOR)
    form = ScheduleForm(request.POST or None, user=user, teams=teams)
    if is_search(request):
        clear_errors(form)
    elif request.method == "POST" and form.is_valid():
        try:
            schedule = services.create(user, form.cleaned_data["team"], form.spec())
        except ServiceError as refusal:
            form.take(refusal)
        else:
            return _kept(request, schedule)
    return render(request, "schedules/edit.html", {"form": form, "teams": teams}, status=422 if form.errors else 200)


@view("GET", "POST")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    schedule = _one(user, pk)
    form = ScheduleForm(request.POST or None, user=user, teams=[schedule.team], schedule=schedule)
    if is_search(request):
        clear_errors(form)
    elif request.method == "POST" and form.is_valid():
        try:
            services.edit(user, _one(user, pk), form.spec())
        except ServiceError as refusal:
            form.take(refusal)
        else:
            return _kept(request, schedule)
    context = {"form": form, "schedule": schedule, "teams": [schedule.team]}
    return render(request, "schedules/edit.html", context, status=422 if form.errors else 200)


def _kept(request: HttpRequest, schedule: Schedule) -> HttpResponse:
    messages.success(request, f"{schedule.name} is saved.")
    return redirect("schedules:detail", schedule.pk)


@view("POST")
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, services.pause, "Schedule paused.")


@view("POST")
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, services.resume, "Schedule resumed.")


@view("POST")
def run(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, services.run_now, "Run started.")


@view("POST")
def cancel(request: HttpRequest, run_id: int) -> HttpResponse:
    user = person(request)
    found = get_object_or_404(ScheduleRun.objects.visible_to(user).select_related("schedule__team"), pk=run_id)
    carry_out(request, lambda: services.cancel(user, found), "Cancelling the run.")
    pk = found.schedule_id
    return answer(request, "schedules:detail", "schedules/_panel.html", lambda: detail_panel(user, pk)[1], pk)


@view("GET", "POST")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    schedule = _one(user, pk)
    if request.method == "POST":
        said = f"{schedule.name} is deleted."
        if carry_out(request, lambda: services.delete(user, schedule), said):
            return redirect("schedules:index")
        return redirect("schedules:detail", pk)
    return render(request, "schedules/delete.html", {"schedule": schedule})


def _one(user: User, pk: int) -> Schedule:
    return get_object_or_404(Schedule.objects.visible_to(user).for_list(), pk=pk)


def _ask(request: HttpRequest, pk: int, verb: Callable[[User, Schedule], object], said: str) -> HttpResponse:
    user = person(request)
    schedule = _one(user, pk)
    carry_out(request, lambda: verb(user, schedule), said)
    return answer(request, "schedules:detail", "schedules/_panel.html", lambda: detail_panel(user, pk)[1], pk)
