"""Pages of jobs."""

from collections.abc import Callable, Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.accounts.models import Role, User
from webapp.accounts.teams import teams_of
from webapp.catalog.models import Artifact
from webapp.foundation.text import clean_text
from webapp.interfaces.kit.following import follow
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.views import answer, carry_out, may, page_or_panel, person, view
from webapp.jobs import ending, logs, services
from webapp.jobs.models import Job, JobKind
from webapp.jobs.states import ENDED, JobState

# What the list can be narrowed to, by the column's name.
FILTERS: dict[str, list[str]] = {
    "state": [state.value for state in JobState],
    "kind": [kind.value for kind in JobKind],
}


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    following = follow(topics(person(request)))
    panel, context = list_panel(person(request), request.GET)
    teams = teams_of(person(request), Role.OPERATOR)
    return page_or_panel(request, "jobs/index.html", panel, {**context, "following": following, "own_teams": teams})


def topics(user: User) -> list[str]:
    """What a list of this person's jobs follows."""
    return [*(f"jobs:{team.pk}" for team in teams_of(user)), *(["jobs:all"] if user.is_superuser else [])]


def list_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    chosen = {name: word for name, words in FILTERS.items() if (word := str(asked.get(name, ""))) in words}
    found = listing(
        Job.objects.visible_to(user).for_list().filter(**chosen),
        asked,
        sorts={"id": ("id",), "state": ("state",), "host": ("host__name",), "created": ("created_at",)},
        kept=chosen,
    )
    return "jobs/_list.html", {"listing": found, "filters": FILTERS, "chosen": chosen}


@view("GET")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    topics, seen, piece = [f"job:{pk}"], {}, None
    job = Job.objects.visible_to(user).filter(pk=pk).first()
    if job is not None:
        piece = logs.tail(job)
        topics.append(logs.topic(pk))
        seen[topics[-1]] = str(piece.place)
    following = follow(topics, seen=seen)
    panel, context = detail_panel(user, pk)
    page = {**context, "following": following, "log": piece, "log_topic": logs.topic(pk)}
    return page_or_panel(request, "jobs/detail.html", panel, page)


@view("GET")
def log(request: HttpRequest, pk: int) -> HttpResponse:
    """What is kept of its log as a page (one step of it, searched by `q`) or, with `download`, as a file."""
    job = get_object_or_404(Job.objects.visible_to(person(request)), pk=pk)
    kept = logs.parts(job)
    chosen = next((part for part in kept if part.key == request.GET.get("step")), None)
    text = logs.whole(job, chosen)
    if "download" in request.GET:
        name = f"job-{pk}{f'-{chosen.key}' if chosen else ''}.log"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)
    q = clean_text(request.GET.get("q"), 200)
    lines = [line for line in text.splitlines() if q.lower() in line.lower()]
    context = {"job": job, "kept": kept, "chosen": chosen, "q": q, "lines": lines}
    return render(request, "jobs/log.html", context)


def detail_panel(user: User, pk: int) -> tuple[str, dict[str, Any]]:
    job = get_object_or_404(Job.objects.visible_to(user).for_list(), pk=pk)
    return "jobs/_panel.html", {
        "job": job,
        "made": Artifact.objects.visible_to(user).filter(made_by=job).select_related("catalog_model").first(),
        "events": job.events.all(),
        "shown_params": _shown(job.params),
        "has_ended": job.state in ENDED,
        "may_retry": job.state in (JobState.FAILED, JobState.CANCELLED) and not job.is_leaving,
        "may_operate": may(user, job.team, Role.OPERATOR),
        "may_give_up": user.is_superuser and ending.is_stuck(job),
    }


def _shown(params: Mapping[str, Any]) -> dict[str, Any]:
    """What the job was told, without the lists that only its program reads."""
    flat = {**params, **params.get("source", {})}
    files = [str(file.get("name")) for file in params.get("files", ())]
    shown = {name: value for name, value in flat.items() if name not in ("files", "source", "hub", "kind") and value}
    return {**shown, "files": files} if files else shown


@view("POST")
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, services.cancel, "Cancelling the job…")


@view("POST")
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, services.retry, "Job queued again.")


@view("POST")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    job = get_object_or_404(Job.objects.visible_to(user).select_related("team"), pk=pk)
    if carry_out(request, lambda: ending.delete(user, job), "The job's record was deleted."):
        return redirect("jobs:index")
    return redirect("jobs:detail", pk)


@view("POST")
def give_up(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    job = get_object_or_404(Job.objects.visible_to(user).select_related("team"), pk=pk)
    carry_out(request, lambda: ending.give_up(user, job), "The job is given up.")
    return redirect("jobs:detail", pk) if Job.objects.filter(pk=pk).exists() else redirect("jobs:index")


@view("POST")
def delete_ended(request: HttpRequest) -> HttpResponse:
    """The ended jobs of one team, or of every team that the person may act for."""
    user, key = person(request), request.POST.get("team")
    teams = [team for team in teams_of(user, Role.OPERATOR) if key in (None, "", str(team.pk))]
    if not teams:
        raise Http404
    carry_out(request, lambda: [ending.delete_ended(user, team) for team in teams], "The ended jobs were deleted.")
    return redirect("jobs:index")


def _ask(request: HttpRequest, pk: int, verb: Callable[[User, Job], None], said: str) -> HttpResponse:
    user = person(request)
    job = get_object_or_404(Job.objects.visible_to(user).select_related("team"), pk=pk)
    carry_out(request, lambda: verb(user, job), said)
    return answer(request, "jobs:detail", "jobs/_panel.html", lambda: detail_panel(user, pk)[1], pk)
