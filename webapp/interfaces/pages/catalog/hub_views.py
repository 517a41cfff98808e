"""Pages of hubs: what a repository offers, and which hubs there are."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from webapp.accounts.models import Role, User
from webapp.accounts.teams import teams_of
from webapp.catalog import hubs, inspecting, services
from webapp.catalog.models import Artifact, CodeApproval, Hub
from webapp.deployments import fit
from webapp.deployments.fleet import Fleet
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.picking import is_search
from webapp.interfaces.kit.views import carry_out, person, view
from webapp.interfaces.pages.catalog.forms import FetchForm, GetForm, HubForm
from webapp.inventory.models import Host
from webapp.jobs import fetching
from webapp.planner.rough import rough_bytes

PICKS = ("host", "team")


@view("GET")
def repo(request: HttpRequest, pk: int) -> HttpResponse:
    """A repository's variants, with what fits where."""
    user = person(request)
    hub = get_object_or_404(Hub.objects.visible_to(user), pk=pk)
    name, revision = request.GET.get("name", "")[:200], request.GET.get("revision", "").strip()[:200]
    if not name:
        raise Http404
    context: dict[str, Any] = {"hub": hub, "name": name, "revision": revision, "teams": teams_of(user, Role.OPERATOR)}
    try:
        hubs.check_enabled(hub)
        found = hubs.repo(hub, name, revision)
        offer = inspecting.offer(hub, found)
    except ServiceError as refusal:
        return render(request, "models/repo.html", {**context, "problem": str(refusal)}, status=refusal.status)
    fleet = Fleet.of(Host.objects.visible_to(user).for_list())
    prefix = f"hub:{hub.pk}:{found.name}@{found.commit}:"
    here = dict(
        Artifact.objects.visible_to(user).filter(origin__startswith=prefix).values_list("origin", "catalog_model__slug")
    )
    rows = [
        {
            "variant": variant,
            "need": rough_bytes(variant.size_bytes),
            "places": fit.by_size(variant.size_bytes, variant.format, fleet, variant.quantisation).possible,
            "slug": here.get((prefix + variant.key)[:500], ""),
        }
        for variant in offer.variants
    ]
    approved = CodeApproval.objects.filter(hub=hub, repo=found.name, commit=found.commit).exists()
    context |= {"repo": found, "rows": rows, "offer": offer, "is_approved": approved}
    form = FetchForm(None, teams=context["teams"], initial={name: request.GET.get(name) for name in PICKS})
    form.narrow(request.GET)
    return render(request, "models/repo.html", {**context, "form": form})


@view("POST")
def get(request: HttpRequest, pk: int) -> HttpResponse:
    """Fetch one variant; goes on as a job."""
    user = person(request)
    hub = get_object_or_404(Hub.objects.visible_to(user).filter(is_enabled=True), pk=pk)
    form = GetForm(request.POST, teams=teams_of(user, Role.OPERATOR))
    page = _page(hub, request.POST.get("repo", ""), request.POST.get("revision", ""))
    if is_search(request):
        # Back to the page, which looks at the repository, with what was searched for and chosen.
        kept = {name: request.POST.get(name, "")[:100] for pick in PICKS for name in (pick, f"{pick}-q")}
        return redirect(f"{page}&{urlencode(kept)}")
    if form.is_valid():
        typed = form.cleaned_data
        words = (typed["team"], typed["host"], hub, typed["repo"], typed["variant"], typed["revision"])
        queued: list[Any] = []
        if carry_out(request, lambda: queued.append(fetching.from_hub(user, *words)), "Download queued."):
            return redirect("jobs:detail", queued[0].pk)
    else:
        messages.error(request, "Choose one of your teams and a host that is online.")
    return redirect(page)


@view("POST")
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    """An administrator has read a repository's code."""
    user = _admin(request)
    hub = get_object_or_404(Hub, pk=pk)
    name, commit = (request.POST.get(field, "").replace("\0", "")[:200] for field in ("repo", "commit"))
    carry_out(
        request, lambda: services.approve_code(user, hub, name, commit[:64]), "Remote code trusted for this commit."
    )
    return redirect(_page(hub, name, commit))


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    rows = Hub.objects.visible_to(user).prefetch_related("teams")
    return render(request, "models/hubs.html", {"hubs": rows, "may_change": user.is_superuser})


@view("GET", "POST")
def edit(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Add a hub, or change one."""
    user = _admin(request)
    hub = get_object_or_404(Hub, pk=pk) if pk is not None else None
    form = HubForm.of(hub, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            saved = services.save_hub(user, hub, **form.values())
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, f"{saved.name} is saved.")
            return redirect("catalog:hubs")
    return render(request, "models/hub.html", {"form": form, "hub": hub}, status=422 if form.errors else 200)


@view("POST")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    user = _admin(request)
    hub = get_object_or_404(Hub, pk=pk)
    carry_out(request, lambda: services.delete_hub(user, hub), f"{hub.name} is forgotten.")
    return redirect("catalog:hubs")


def _admin(request: HttpRequest) -> User:
    user = person(request)
    if not user.is_superuser:
        raise PermissionDenied
    return user


def _page(hub: Hub, name: str, revision: str) -> str:
    query = {"name": name, **({"revision": revision} if revision else {})}
    return f"{reverse('catalog:repo', args=[hub.pk])}?{urlencode(query)}"
