"""Pages of deployments: the list, one deployment, and what can be asked of them with one click."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp import engines
from webapp.accounts.models import Role, User
from webapp.accounts.teams import teams_of
from webapp.deployments import asking, logs, rolling, searching, services, serving, sharing
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.states import RolloutState
from webapp.foundation.text import parse_id
from webapp.interfaces.kit.following import follow
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.picking import SHOWN
from webapp.interfaces.kit.views import answer, carry_out, may, page_or_panel, person, view
from webapp.inventory.models import Host

EVENT_LINES = 40


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    following = follow(f"deployments:{team.pk}" for team in teams_of(person(request)))
    user = person(request)
    panel, context = list_panel(user, request.GET)
    page = {
        **context,
        "following": following,
        "words": searching.WORDS,
        "engines": engines.all(),
        "hosts": _host_names(user),
        "teams": teams_of(user),
    }
    return page_or_panel(request, "deployments/index.html", panel, page)


def _host_names(user: User) -> list[str] | None:
    """The hosts to choose from; None where there are so many that people type instead."""
    names = list(Host.objects.visible_to(user).order_by("name").values_list("name", flat=True)[: SHOWN + 1])
    return names if len(names) <= SHOWN else None


def list_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The list as this person may see it, for the page, the htmx reply and the socket."""
    filters = searching.filters_of(asked)
    found = listing(
        searching.narrow_while_typing(Deployment.objects.visible_to(user).for_list(), filters),
        asked,
        sorts={
            "name": ("name",),
            "model": ("artifact__catalog_model__name",),
            "team": ("team__name",),
            "replicas": ("desired_replicas",),
            "created": ("created_at",),
        },
        kept=filters,
    )
    return "deployments/_list.html", {"listing": found, "asked": found.kept}


@view("POST")
def bulk(request: HttpRequest) -> HttpResponse:
    """One verb for every deployment that was ticked; what refuses says why, the others go on."""
    user, verb = person(request), request.POST.get("verb", "")
    ticked = [pk for pk in map(parse_id, request.POST.getlist("pk")[:200]) if pk is not None]
    rows = list(Deployment.objects.visible_to(user).select_related("team").filter(pk__in=ticked).order_by("name"))
    if not rows or verb not in _BULK:
        messages.warning(request, "Select at least one deployment.")
        return redirect("deployments:index")
    if verb == "delete" and request.POST.get("sure") != "yes":
        return render(request, "deployments/delete_many.html", {"deployments": rows})
    done = [row.name for row in rows if carry_out(request, partial(_BULK[verb], user, row), "")]
    if done:
        messages.success(request, f"{_DOING[verb]} {', '.join(done)}.")
    return redirect("deployments:index")


_BULK: dict[str, Callable[[User, Deployment], None]] = {
    "start": services.start, "stop": services.stop, "restart": services.restart, "delete": services.delete,
}  # fmt: skip
_DOING = {"start": "Starting", "stop": "Stopping", "restart": "Restarting", "delete": "Deleting"}


@view("GET")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    deployment = get_object_or_404(Deployment.objects.visible_to(user).select_related("team", "artifact"), pk=pk)
    # Logs are for the team that owns it.
    is_own = deployment.is_own  # type: ignore[attr-defined]
    replica = _replica(deployment, request.GET.get("replica", "")) if is_own else None
    seen, topics = {}, [f"deployment:{pk}"]
    piece = None
    if replica is not None:
        piece = logs.tail(replica)
        topics.append(f"replica-log:{replica.pk}")
        seen[topics[-1]] = str(piece.place)
    following = follow(topics, seen=seen)
    panel, context = detail_panel(user, pk)
    page = {
        **context,
        "following": following,
        "shown": replica,
        "log": piece,
        "serves": serving.of(deployment),
        "base_url": settings.MODELYARD_URL + "/v1" if is_own else deployment.endpoint,
        "snippets": sharing.code(deployment),
        "is_for_chat": not asking.serves_embeddings(deployment),
    }
    return page_or_panel(request, "deployments/detail.html", panel, page)


def detail_panel(user: User, pk: int) -> tuple[str, dict[str, Any]]:
    """Everything of one deployment that changes by itself. 404 when this person may not see it."""
    deployment = get_object_or_404(Deployment.objects.visible_to(user).for_list(), pk=pk)
    replicas, is_own = sharing.shown_replicas(deployment), deployment.is_own  # type: ignore[attr-defined]
    title = engines.get(deployment.engine).title if deployment.engine in engines.names() else deployment.engine
    context = {"deployment": deployment, "replicas": replicas, "is_own": is_own, "engine_title": title}
    if is_own:
        newest = deployment.rollouts.select_related("revision").first()
        context |= {
            "memory": [row for replica in replicas for row in _memory(replica)],
            "events": deployment.events.all()[:EVENT_LINES],
            "rollout": newest,
            "is_rolling": newest is not None and newest.state == RolloutState.RUNNING,
            "has_failed": newest is not None and newest.state == RolloutState.FAILED,
            "waits_for": rolling.waits_for(deployment) if deployment.next_due_at else "",
            "revisions": deployment.revisions.all()[:3],
            "may_operate": may(user, deployment.team, Role.OPERATOR),
        }
    return "deployments/_panel.html", context


@view("POST")
def start(request: HttpRequest, pk: int) -> HttpResponse:
    return _request_change(request, pk, services.start, "Starting {}.")


@view("POST")
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    return _request_change(request, pk, services.stop, "Stopping {}; in-flight requests will finish.")


def _request_change(request: HttpRequest, pk: int, verb: Callable[[User, Deployment], None], said: str) -> HttpResponse:
    user = person(request)
    deployment = get_object_or_404(Deployment.objects.visible_to(user).select_related("team"), pk=pk)
    carry_out(request, lambda: verb(user, deployment), said.format(deployment.name))
    panel = "deployments/_panel.html"
    return answer(request, "deployments:detail", panel, lambda: detail_panel(user, pk)[1], pk)


@view("POST")
def scale(request: HttpRequest, pk: int) -> HttpResponse:
    asked = parse_id(request.POST.get("replicas", ""))
    # What is no number is refused by the service like any number out of range.
    wanted = -1 if asked is None else asked
    return _request_change(
        request, pk, partial(_scale, wanted), f"Scaling {{}} to {wanted} replica{'' if wanted == 1 else 's'}."
    )


def _scale(replicas: int, user: User, deployment: Deployment) -> None:
    services.scale(user, deployment, replicas)


@view("POST")
def restart(request: HttpRequest, pk: int) -> HttpResponse:
    allow_downtime = "allow_downtime" in request.POST
    return _request_change(request, pk, partial(_restart, allow_downtime), "Rolling restart of {} started.")


def _restart(allow_downtime: bool, user: User, deployment: Deployment) -> None:
    services.restart(user, deployment, allow_downtime)


@view("POST")
def roll_back(request: HttpRequest, pk: int, revision: int) -> HttpResponse:
    verb = partial(_roll_back, revision, "allow_downtime" in request.POST)
    return _request_change(request, pk, verb, f"Rolling {{}} back to revision {revision}.")


def _roll_back(revision: int, allow_downtime: bool, user: User, deployment: Deployment) -> None:
    services.roll_back(user, deployment, revision, allow_downtime)


@view("GET", "POST")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for the name first: what goes away does not come back."""
    user = person(request)
    deployment = get_object_or_404(Deployment.objects.visible_to(user).for_list(), pk=pk)
    error = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() != deployment.name:
            error = f"The name doesn't match: type {deployment.name}."
        elif carry_out(request, lambda: services.delete(user, deployment), f"{deployment.name} is being deleted."):
            return redirect("deployments:index")
    context = {"deployment": deployment, "error": error, "may_operate": may(user, deployment.team, Role.OPERATOR)}
    return render(request, "deployments/delete.html", context, status=422 if error else 200)


def _replica(deployment: Deployment, asked: str) -> Replica | None:
    replicas = deployment.replicas.present().order_by("number")
    return replicas.filter(number=parse_id(asked) or 0).first() or replicas.first()


def _memory(replica: Replica) -> list[dict[str, Any]]:
    """Estimated beside reported, term by term. Reported keys read `device term`."""
    rows = []
    reported = {key: size for key, size in replica.observed.items() if isinstance(size, int)}
    for term in replica.estimate:
        sizes = [size for key, size in reported.items() if key.rpartition(" ")[2] == term.get("name")]
        rows.append(
            {
                "replica": replica,
                "label": term.get("label") or term.get("name"),
                "basis": term.get("basis", ""),
                "estimated": term.get("bytes"),
                "reported": sum(sizes) if sizes else None,
            }
        )
    return rows
