"""Pages of models and their files."""

from typing import Any

from django.apps import apps
from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.module_loading import import_string

from webapp.accounts.models import Role
from webapp.catalog.forms import ImportForm
from webapp.catalog.models import Artifact, CatalogModel
from webapp.doors import door, page_or_panel, person, teams_of
from webapp.errors import Refused
from webapp.listings import listing


@door("GET")
def index(request: HttpRequest) -> HttpResponse:
    rows = CatalogModel.objects.annotate(file_count=Count("artifacts"), size_bytes=Sum("artifacts__size_bytes"))
    found = listing(
        rows.order_by("name"),
        request.GET,
        search=("name", "architecture", "licence"),
        sorts={
            "name": ("name",),
            "parameters": ("parameters",),
            "size": ("size_bytes",),
            "context": ("context_length",),
        },
    )
    context = {"listing": found, "may_import": bool(teams_of(person(request), Role.OPERATOR))}
    return page_or_panel(request, "models/index.html", "models/_list.html", context)


@door("GET")
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    user = person(request)
    model = get_object_or_404(CatalogModel, slug=slug)
    deployments = apps.get_model("deployments", "Deployment").objects
    context: dict[str, Any] = {
        "model": model,
        "artifacts": Artifact.objects.filter(catalog_model=model).for_list(),
        "deployments": deployments.visible_to(user).for_list().filter(artifact__catalog_model=model),
        "may_deploy": bool(teams_of(user, Role.OPERATOR)),
    }
    return render(request, "models/detail.html", context)


@door("GET", "POST")
def import_file(request: HttpRequest) -> HttpResponse:
    """Have a file of an allowed folder copied to a host; goes on as a job."""
    user = person(request)
    form = ImportForm(request.POST if request.method == "POST" else None, teams=teams_of(user, Role.OPERATOR))
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        # jobs stands above catalog in the house: its service is looked up by name.
        queue_import = import_string("webapp.jobs.fetching.import_file")
        try:
            job = queue_import(
                user,
                typed["team"],
                typed["host"],
                typed["source_path"],
                typed["member"] or None,
                typed["model_name"] or None,
            )
        except Refused as refusal:
            form.take(refusal)
        else:
            messages.success(request, "The import is queued.")
            return redirect("jobs:detail", job.pk)
    return render(request, "models/import.html", {"form": form}, status=422 if form.errors else 200)
