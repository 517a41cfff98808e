"""Pages of deployments."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render

from webapp import engines
from webapp.accounts.models import Role, User
from webapp.catalog.models import Artifact
from webapp.deployments import fitting, logs, services
from webapp.deployments.forms import DeploymentForm, OptionsForm, options_form
from webapp.deployments.models import Deployment, Replica
from webapp.doors import answer, carry_out, door, may, page_or_panel, person, teams_of
from webapp.errors import Refused
from webapp.following import follow
from webapp.listings import listing
from webapp.snippets import snippets

DIARY_LINES = 40


@door("GET")
def index(request: HttpRequest) -> HttpResponse:
    following = follow(f"deployments:{team.pk}" for team in teams_of(person(request)))
    panel, context = list_panel(person(request), request.GET)
    return page_or_panel(request, "deployments/index.html", panel, {**context, "following": following})


def list_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The list as this person may see it, for the page, the htmx reply and the socket."""
    found = listing(
        Deployment.objects.visible_to(user).for_list(),
        asked,
        search=("name", "artifact__catalog_model__name", "team__name", "engine"),
        sorts={
            "name": ("name",),
            "model": ("artifact__catalog_model__name",),
            "team": ("team__name",),
            "created": ("created_at",),
        },
    )
    return "deployments/_list.html", {"listing": found}


@door("GET")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    deployment = get_object_or_404(Deployment.objects.visible_to(user).select_related("team"), pk=pk)
    replica = _replica(deployment, request.GET.get("replica", ""))
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
        "base_url": settings.MODELYARD_URL,
        "snippets": snippets(settings.MODELYARD_URL, deployment.name),
    }
    return page_or_panel(request, "deployments/detail.html", panel, page)


def detail_panel(user: User, pk: int) -> tuple[str, dict[str, Any]]:
    """Everything of one deployment that changes by itself. 404 when this person may not see it."""
    deployment = get_object_or_404(Deployment.objects.visible_to(user).for_list(), pk=pk)
    replicas = list(deployment.replicas.all())
    return "deployments/_panel.html", {
        "deployment": deployment,
        "replicas": replicas,
        "memory": [row for replica in replicas for row in _memory(replica)],
        "diary": deployment.diary.all()[:DIARY_LINES],
        "may_operate": may(user, deployment.team, Role.OPERATOR),
        "engine_title": engines.get(deployment.engine).title
        if deployment.engine in engines.names()
        else deployment.engine,
    }


@door("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """What, how and where on one page; the fit panel answers while people choose."""
    user = person(request)
    form, options = _forms(user, request.POST if request.method == "POST" else None, request.GET)
    if request.method == "POST" and form.is_valid() and options.is_valid():
        try:
            deployment = services.create(user, form.cleaned_data["team"], form.wish(options.chosen()))
        except Refused as refusal:
            form.take(refusal, options)
        else:
            messages.success(request, f"Asked {deployment.name} to run.")
            return redirect("deployments:detail", deployment.pk)
    context = {
        "form": form,
        "options": options,
        "fit": _fit(form, options),
        "has_artifacts": Artifact.objects.deployable().exists(),
    }
    return render(request, "deployments/new.html", context, status=422 if form.errors or options.errors else 200)


@door("GET", "POST")
def fit(request: HttpRequest) -> HttpResponse:
    """The fit panel for what is typed so far."""
    form, options = _forms(person(request), request.POST, request.GET)
    return render(request, "deployments/_fit.html", {"fit": _fit(form, options)})


def _forms(user: User, typed: QueryDict | None, asked: QueryDict) -> tuple[DeploymentForm, OptionsForm]:
    """The two forms of the page. `asked` prefills: ?artifact=3 comes from a model's page."""
    form = DeploymentForm(typed, teams=teams_of(user, Role.OPERATOR), initial={"artifact": asked.get("artifact", "")})
    engine = engines.get(form.engine_name())
    return form, options_form(engine.Options)(typed, prefix="options")


def _fit(form: DeploymentForm, options: OptionsForm) -> fitting.Fit | None:
    """None while there is nothing to calculate with."""
    artifact, team = form.chosen("artifact"), form.chosen("team")
    if artifact is None or team is None:
        return None
    typed = options.chosen() if not options.is_bound or options.is_valid() else None
    return fitting.fit(artifact, form.engine_name(), typed, form.chosen("host"), team)


@door("POST")
def start(request: HttpRequest, pk: int) -> HttpResponse:
    return _wish(request, pk, services.start, "Asked {} to run.")


@door("POST")
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    return _wish(request, pk, services.stop, "Asked {} to stop; requests that are running may finish.")


def _wish(request: HttpRequest, pk: int, verb: Callable[[User, Deployment], None], said: str) -> HttpResponse:
    user = person(request)
    deployment = get_object_or_404(Deployment.objects.visible_to(user).select_related("team"), pk=pk)
    carry_out(request, lambda: verb(user, deployment), said.format(deployment.name))
    panel = "deployments/_panel.html"
    return answer(request, "deployments:detail", panel, lambda: detail_panel(user, pk)[1], pk)


@door("GET", "POST")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for the name first: what goes away does not come back."""
    user = person(request)
    deployment = get_object_or_404(Deployment.objects.visible_to(user).for_list(), pk=pk)
    error = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() != deployment.name:
            error = f"Type {deployment.name} exactly as it is written."
        elif carry_out(request, lambda: services.delete(user, deployment), f"{deployment.name} is being deleted."):
            return redirect("deployments:index")
    context = {"deployment": deployment, "error": error, "may_operate": may(user, deployment.team, Role.OPERATOR)}
    return render(request, "deployments/delete.html", context, status=422 if error else 200)


@door("GET")
def log(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """One container's log as a page (searched by `q`) or, with `download`, as a file."""
    deployment = get_object_or_404(Deployment.objects.visible_to(person(request)).select_related("team"), pk=pk)
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
    q = request.GET.get("q", "").strip()[:200]
    lines = text.splitlines()
    if q:
        lines = [line for line in lines if q.lower() in line.lower()]
    context = {"deployment": deployment, "replica": replica, "kept": kept, "place": place, "q": q, "lines": lines}
    return render(request, "deployments/log.html", context)


def _replica(deployment: Deployment, number: str) -> Replica | None:
    replicas = deployment.replicas.order_by("number")
    wanted = replicas.filter(number=int(number)).first() if number.isascii() and number.isdigit() else None
    return wanted or replicas.first()


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
