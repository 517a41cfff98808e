"""Pages of models and their files."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from webapp.accounts.models import Role, Team, User
from webapp.accounts.teams import teams_of
from webapp.catalog import hubs, known
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState, Hub
from webapp.deployments import asking, disk, fit, sharing
from webapp.deployments.fleet import Fleet
from webapp.deployments.models import Deployment
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.owning import owner_page
from webapp.interfaces.kit.picking import clear_errors, is_search
from webapp.interfaces.kit.views import carry_out, page_or_panel, person, view
from webapp.interfaces.pages.catalog.forms import AddressForm, FetchForm, ImportForm
from webapp.inventory.models import Host
from webapp.jobs import deleting, fetching
from webapp.quantisation import comparison

# Copies that the disk page lists of each of several hosts, and of one host alone; unused ones come first.
FEW_COPIES, MOST_COPIES = 20, 200
# Deployments that a model's page lists.
MOST_RUNNING = 50
# Hosts that have an artifact, before somebody fetches it to one more.
MOST_NAMED = 20


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    found = listing(
        CatalogModel.objects.for_list(user),
        request.GET,
        sorts={
            "name": ("name",),
            "parameters": ("parameters",),
            "size": ("size_bytes",),
            "context": ("context_length",),
            "used": ("last_used_at",),
        },
    )
    here = {name.lower() for name in CatalogModel.objects.visible_to(user).values_list("name", flat=True)}
    # The page names the first host that holds a model, so of many hosts few have to be asked.
    fleet = Fleet.of(Host.objects.visible_to(user).for_list()).leading()
    context = {
        "listing": found,
        "served": set(disk.served_now().values()),
        "may_import": bool(teams_of(user, Role.OPERATOR)),
        "known": [_known_row(model, here, fleet) for model in known.matching(found.q)],
        "hub_results": _search_hubs(user, found.q) if "hubs" in request.GET else None,
        "usual_hub": Hub.objects.visible_to(user).filter(is_enabled=True).first(),
    }
    return page_or_panel(request, "models/index.html", "models/_list.html", context)


def _known_row(model: known.Known, here: set[str], fleet: Fleet) -> dict[str, Any]:
    ways = [
        {"label": label, "bytes": need, "place": fit.by_size(size, known.FORMAT, fleet).first}
        for (label, size), (_label, need) in zip(model.weights, model.needs, strict=True)
    ]
    stems = {repo.rsplit("/", 1)[-1].removesuffix("-GGUF").removesuffix("-gguf").lower() for repo in model.repos}
    return {"model": model, "ways": ways, "is_here": bool(stems & here) or model.name.lower() in here}


def _search_hubs(user: User, words: str) -> list[dict[str, Any]]:
    """What each hub has for these words; a hub that cannot be asked says why in its place."""
    found: list[dict[str, Any]] = []
    for hub in Hub.objects.visible_to(user).filter(is_enabled=True)[:5]:
        try:
            found.append({"hub": hub, "repos": hubs.search(hub, words), "problem": ""})
        except ServiceError as refusal:
            found.append({"hub": hub, "repos": [], "problem": str(refusal)})
    return found


@view("GET")
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    user = person(request)
    teams = teams_of(user, Role.OPERATOR)
    model = CatalogModel.objects.visible_to(user).filter(slug=slug).order_by("pk").first()
    if model is None:
        raise Http404
    artifacts = list(Artifact.objects.filter(catalog_model__slug=slug).for_list(user))
    fleet = Fleet.of(Host.objects.visible_to(user).for_list())
    quant = comparison.of_model(user, model, artifacts)
    rows = list(
        Deployment.objects.visible_to(user)
        .for_list()
        .filter(artifact__in=[one.pk for one in artifacts])[: MOST_RUNNING + 1]
    )
    answering = [row for row in rows if row.state in ("ready", "degraded")]
    asked = asking.first_for_chat(answering) or next(iter(answering), None)
    context: dict[str, Any] = {
        "model": model,
        "artifacts": [(artifact, fit.of_artifact(artifact, fleet)) for artifact in artifacts],
        "served": disk.served_now(),
        "quant": quant,
        "deployments": rows[:MOST_RUNNING],
        "has_more": len(rows) > MOST_RUNNING,
        "asked": asked,
        "snippets": sharing.code(asked) if asked else [],
        "may_deploy": bool(teams),
        "teams": teams,
        "own": {team.pk for team in teams},
        "has_hosts": Host.objects.online().open_to(teams).exists() if teams else False,
    }
    return render(request, "models/detail.html", context)


def _queued(request: HttpRequest, form: Any, queue: Callable[[dict[str, Any]], Any], said: str) -> HttpResponse | None:
    """To the job that was queued with what was typed; None when the form is to be shown, with what is wrong in it."""
    if is_search(request):
        clear_errors(form)
    elif request.method == "POST" and form.is_valid():
        try:
            job = queue(form.cleaned_data)
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, said)
            return redirect("jobs:detail", job.pk)
    return None


@view("GET", "POST")
def import_file(request: HttpRequest) -> HttpResponse:
    """Have files of an allowed folder copied to a host; goes on as a job."""
    user = person(request)
    form = ImportForm(request.POST if request.method == "POST" else None, teams=teams_of(user, Role.OPERATOR))

    def queue(typed: dict[str, Any]) -> Any:
        words = (typed["source_path"], typed["member"] or None, typed["model_name"] or None)
        return fetching.import_file(user, typed["team"], typed["host"], *words)

    leave = _queued(request, form, queue, "Import queued.")
    return leave or render(request, "models/import.html", {"form": form}, status=422 if form.errors else 200)


@view("GET", "POST")
def from_address(request: HttpRequest) -> HttpResponse:
    """Fetch one file by its web address; goes on as a job."""
    user = person(request)
    form = AddressForm(request.POST if request.method == "POST" else None, teams=teams_of(user, Role.OPERATOR))

    def queue(typed: dict[str, Any]) -> Any:
        return fetching.from_url(user, typed["team"], typed["host"], typed["url"], typed["model_name"])

    leave = _queued(request, form, queue, "Download queued.")
    return leave or render(request, "models/address.html", {"form": form}, status=422 if form.errors else 200)


@view("GET", "POST")
def fetch_to_host(request: HttpRequest, pk: int) -> HttpResponse:
    """Fetch an artifact to one more host, or again to one where it failed."""
    user = person(request)
    artifact = get_object_or_404(Artifact.objects.for_list(user), pk=pk)
    teams = teams_of(user, Role.OPERATOR)
    lacking = Host.objects.online().open_to(teams).exclude(copies__artifact=artifact).order_by("name").first()
    form = FetchForm(request.POST if request.method == "POST" else None, teams=teams, initial={"host": lacking})

    def queue(typed: dict[str, Any]) -> Any:
        return fetching.to_host(user, typed["team"], artifact, typed["host"])

    if (leave := _queued(request, form, queue, "Copy queued.")) is not None:
        return leave
    form.narrow(form.data)
    there = Host.objects.visible_to(user).filter(copies__artifact=artifact, copies__state=CopyState.PRESENT)
    holders = list(there.order_by("name").values_list("name", flat=True)[: MOST_NAMED + 1])
    context = {"form": form, "artifact": artifact, "holders": holders[:MOST_NAMED], "more": len(holders) > MOST_NAMED}
    return render(request, "models/fetch.html", context, status=422 if form.errors else 200)


@view("GET", "POST")
def delete_artifact(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    artifact = get_object_or_404(Artifact.objects.for_list(user).belonging_to(user), pk=pk)
    loss = deleting.loss_of_artifact(artifact)
    return _delete(request, artifact, None, loss)


@view("GET", "POST")
def owner(request: HttpRequest, pk: int) -> HttpResponse:
    """Whose an artifact is, and which other teams may use it."""
    rows = Artifact.objects.select_related("catalog_model")
    model = CatalogModel.objects.visible_to(person(request)).filter(artifacts=pk).first()
    above = (reverse("catalog:detail", args=[model.slug]), model.name) if model else (reverse("catalog:index"), "")
    use = "deploy it, quantise it and bring it to hosts, as far as that takes no token of yours"
    return owner_page(request, rows, pk, above, use)


@view("GET", "POST")
def delete_copy(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    copies = ArtifactCopy.objects.visible_to(user).filter(artifact__in=Artifact.objects.belonging_to(user))
    copy = get_object_or_404(copies.select_related("artifact__catalog_model", "artifact__team", "host"), pk=pk)
    loss = deleting.loss_of_copy(copy)
    return _delete(request, copy.artifact, copy, loss)


def _delete(request: HttpRequest, artifact: Artifact, copy: ArtifactCopy | None, loss: deleting.Loss) -> HttpResponse:
    """Say what would be lost and who uses it; after a yes, queue it."""
    user = person(request)
    # The job is the owner's; of what is the installation's own, that of the team that is chosen.
    teams = [team for team in teams_of(user, Role.OPERATOR) if artifact.team_id in (None, team.pk)]
    if request.method == "POST":
        team = _named_team(teams, request.POST.get("team"))
        if team is None:
            messages.error(request, "Choose one of your teams: it owns the job.")
        elif carry_out(request, lambda: _queue_deletion(user, team, artifact, copy), "Deletion queued."):
            model = CatalogModel.objects.visible_to(user).filter(pk=artifact.catalog_model_id).first()
            return redirect("catalog:detail", model.slug) if model else redirect("catalog:index")
    # What people may not see by name is still said to be there.
    context: dict[str, Any] = {"artifact": artifact, "copy": copy, "loss": loss, "teams": teams}
    context |= {"told": deleting.named(loss.users, artifact), "advice": deleting.advice(loss.users, artifact)}
    context |= {"losing": loss.schedules.told_to(user), "losing_hidden": loss.schedules.hidden_from(user)}
    return render(request, "models/delete.html", context)


def _queue_deletion(user: User, team: Team, artifact: Artifact, copy: ArtifactCopy | None) -> object:
    return deleting.delete_artifact(user, team, artifact) if copy is None else deleting.delete_copy(user, team, copy)


def _named_team(teams: list[Team], key: str | None) -> Team | None:
    return next((team for team in teams if str(team.pk) == key), None)


@view("GET")
def disk_use(request: HttpRequest) -> HttpResponse:
    """Hosts a page at a time; what one host holds is shown in full when the search leaves that one alone."""
    user = person(request)
    hosts = listing(Host.objects.visible_to(user).order_by("name"), request.GET, sorts={})
    shown = [host.pk for host in hosts.page]
    context = {
        "listing": hosts,
        "disks": disk.by_host(user, Host.objects.filter(pk__in=shown)),
        "most": f":{MOST_COPIES if len(shown) == 1 else FEW_COPIES}",
        "may_delete": bool(teams_of(user, Role.OPERATOR)),
        "own": {team.pk for team in teams_of(user, Role.OPERATOR)},
        "deletable": [CopyState.PRESENT, CopyState.FAILED],
    }
    return page_or_panel(request, "models/disk.html", "models/_disk.html", context)
