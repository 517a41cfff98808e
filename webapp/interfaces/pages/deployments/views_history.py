"""Pages about what a deployment ran and what happened to it, its logs, and who else may use it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.accounts.models import Role, Team
from webapp.deployments import logs, revisions, sharing, timeline
from webapp.deployments.models import Deployment
from webapp.deployments.spec import diff
from webapp.foundation.text import clean_text, parse_id
from webapp.interfaces.kit.views import carry_out, may, person, view

MOST_ENTRIES = 200
MOST_STARTS = 12


def own(request: HttpRequest, pk: int) -> Deployment:
    """A deployment of the person's own teams."""
    related = ("team", "artifact__catalog_model", "host", "revision")
    return get_object_or_404(Deployment.objects.belonging_to(person(request)).select_related(*related), pk=pk)


@view("GET")
def history(request: HttpRequest, pk: int) -> HttpResponse:
    """Revisions with what each changed, the starts and how long they took, and the events, filtered."""
    deployment = own(request, pk)
    events, asked = deployment.events.all(), {n: parse_id(request.GET.get(n, "")) for n in ("replica", "revision")}
    if asked["replica"]:
        events = events.filter(replica_ordinal=asked["replica"])
    if asked["revision"]:
        events = events.filter(revision_number=asked["revision"])
    starts = [start for start in timeline.recent_starts(deployment) if _is_asked(start, asked)]
    context = {
        "deployment": deployment,
        "revisions": _with_changes(deployment),
        "rollouts": deployment.rollouts.select_related("revision")[:20],
        "replicas": deployment.replicas.order_by("-number").select_related("revision"),
        "events": events[:MOST_ENTRIES],
        "starts": starts[:MOST_STARTS],
        "longest_s": max((start.total_s for start in starts[:MOST_STARTS]), default=0),
        "asked": asked,
        "may_operate": may(person(request), deployment.team, Role.OPERATOR),
    }
    return render(request, "deployments/history.html", context)


def _is_asked(start: timeline.Start, asked: dict[str, int | None]) -> bool:
    return asked["replica"] in (None, start.replica) and asked["revision"] in (None, start.revision)


def _with_changes(deployment: Deployment) -> list[dict[str, Any]]:
    """The newest revisions, each with what differs from the one before."""
    rows = list(deployment.revisions.select_related("artifact__catalog_model", "host")[:30])
    shown = []
    for revision, before in zip(rows, [*rows[1:], None], strict=False):
        new, old = revisions.of(revision), revisions.of(before) if before else None
        changes = diff(old, new) if old and new else []
        shown.append({"revision": revision, "changes": changes, "is_gone": new is None})
    return shown


@view("GET")
def log(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """One container's log as a page (searched by `q`) or, with `download`, as a file."""
    deployment = own(request, pk)
    replica = get_object_or_404(deployment.replicas, number=number)
    kept = logs.attempts(replica)
    wanted = logs.Place.parse(f"{request.GET.get('attempt', '')}-0")
    place = wanted if wanted in kept else (kept[0] if kept else logs.Place())
    text = logs.whole(replica, place.generation, place.attempt)
    if "download" in request.GET:
        name = f"{deployment.name}-{number}-{place.generation}-{place.attempt}.log"
        return HttpResponse(
            text,
            content_type="text/plain; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    q = clean_text(request.GET.get("q"), 200)
    lines = text.splitlines()
    if q:
        lines = [line for line in lines if q.lower() in line.lower()]
    context = {"deployment": deployment, "replica": replica, "kept": kept, "place": place, "q": q, "lines": lines}
    return render(request, "deployments/log.html", context)


@view("GET", "POST")
def share(request: HttpRequest, pk: int) -> HttpResponse:
    """Which other teams may use it."""
    deployment, user, error, asked = own(request, pk), person(request), "", ""
    if request.method == "POST":
        asked = clean_text(request.POST.get("team"), 40)
        if carry_out(request, lambda: sharing.grant(user, deployment, asked), f"Team {asked} may use it now."):
            return redirect("deployments:share", pk)
        error = "refused"
    context = {
        "deployment": deployment,
        "grants": deployment.grants.select_related("team"),
        "typed": asked,
        "may_operate": may(user, deployment.team, Role.OPERATOR),
    }
    return render(request, "deployments/share.html", context, status=422 if error else 200)


@view("POST")
def withdraw(request: HttpRequest, pk: int, team: int) -> HttpResponse:
    deployment, user = own(request, pk), person(request)
    other = get_object_or_404(Team.objects.filter(granted_deployments__deployment=deployment), pk=team)
    carry_out(request, lambda: sharing.withdraw(user, deployment, other), f"Team {other.name} may not use it any more.")
    return redirect("deployments:share", pk)
