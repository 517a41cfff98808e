"""Pages of quantising: the recipe of a new artifact, its provenance, and the texts."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from webapp.accounts.models import Role
from webapp.accounts.teams import teams_of
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.form_faults import first_fault
from webapp.interfaces.kit.owning import owner_page
from webapp.interfaces.kit.views import carry_out, person, view
from webapp.interfaces.pages.quantisation.forms import PromptsForm, QuantiseForm, TextForm
from webapp.quantisation import comparison, services
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.provenance import provenance
from webapp.quantisation.recipes import METHODS


@view("GET", "POST")
def quantise(request: HttpRequest, pk: int) -> HttpResponse:
    """Choose a recipe for an artifact; goes on as a job."""
    user = person(request)
    artifact = get_object_or_404(Artifact.objects.for_list(user), pk=pk)
    form = QuantiseForm(request.POST or None, artifact=artifact, teams=teams_of(user, Role.OPERATOR))
    is_sent = request.method == "POST" and "preview" not in request.POST
    if is_sent and form.is_valid() and (recipe := form.recipe()) is not None:
        typed = form.cleaned_data
        texts = (typed["calibration"], form.measured(), typed["judging"], typed["prompts"])
        try:
            job = services.queue(user, typed["team"], artifact, recipe, typed["host"], *texts)
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, "Job queued.")
            return redirect("jobs:detail", job.pk)
    status = 422 if is_sent else 200
    return render(request, "quantisation/new.html", _shown(artifact, form), status=status)


@view("POST")
def preview(request: HttpRequest, pk: int) -> HttpResponse:
    """The method's options and what would become of what is typed so far."""
    user = person(request)
    artifact = get_object_or_404(Artifact.objects.for_list(user), pk=pk)
    form = QuantiseForm(request.POST, artifact=artifact, teams=teams_of(user, Role.OPERATOR))
    return render(request, "quantisation/_preview_reply.html", _shown(artifact, form))


def _shown(artifact: Artifact, form: QuantiseForm) -> dict[str, Any]:
    recipe, looked = form.recipe(), None
    if recipe is not None:
        host = form.chosen("host") if form.is_bound else form.fields["host"].queryset.first()  # type: ignore[attr-defined]
        asks = form.is_bound and form.chosen("prompts") is not None
        looked = services.preview(artifact, recipe, host, form.measured(), has_prompts=asks)
    is_somewhere = any(copy.state == CopyState.PRESENT for copy in artifact.copies.all())
    return {
        "artifact": artifact, "form": form, "preview": looked, "fault": first_fault(form.options),
        "is_somewhere": is_somewhere,
        "method": form.method_name(), "what": METHODS[form.method_name()],
    }  # fmt: skip


@view("POST")
def rebuild(request: HttpRequest, pk: int) -> HttpResponse:
    """Make an artifact once more, where it lies, for its own team, else for the person's first."""
    user = person(request)
    artifact = get_object_or_404(Artifact.objects.for_list(user).select_related("parent"), pk=pk)
    teams, copy = teams_of(user, Role.OPERATOR), ArtifactCopy.objects.visible_to(user).filter(artifact=pk).first()
    own = [team for team in teams if team.pk == artifact.team_id]
    back = redirect("catalog:detail", artifact.catalog_model.slug)
    if not teams or copy is None:
        messages.error(request, "You need a team that you can act for, and a host that has the files.")
        return back
    queued: list[Any] = []
    if carry_out(
        request, lambda: queued.append(services.again(user, (own or teams)[0], artifact, copy.host)), "Rebuild queued."
    ):
        return redirect("jobs:detail", queued[0].pk)
    return back


@view("GET")
def show_provenance(request: HttpRequest, pk: int) -> HttpResponse:
    """The artifact's provenance as a file."""
    artifact = get_object_or_404(Artifact.objects.for_list(person(request)), pk=pk)
    name = f"{artifact.catalog_model.slug}-{artifact.pk}.provenance.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    said = provenance(artifact, person(request))
    return JsonResponse(said, headers=headers, json_dumps_params={"indent": 2, "ensure_ascii": False})


@view("GET")
def pick(request: HttpRequest, slug: str) -> HttpResponse:
    """Which variant for so much memory, context and so many users."""
    user = person(request)
    model = CatalogModel.objects.visible_to(user).filter(slug=slug).order_by("pk").first()
    if model is None:
        raise Http404
    artifacts = list(Artifact.objects.filter(catalog_model__slug=slug).for_list(user))
    found = comparison.picked(user, artifacts, request.GET)
    context = {"model": model, "pick": found, "asked": request.GET, "priorities": comparison.PRIORITIES}
    return render(request, "quantisation/pick.html", context)


@view("GET", "POST")
def texts(request: HttpRequest) -> HttpResponse:
    """Texts to calibrate on and to judge with; add one."""
    user = person(request)
    teams = teams_of(user, Role.OPERATOR)
    form = TextForm(request.POST or None, teams=teams)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            services.add_text(user, typed["team"], typed["name"], typed["text"], typed["licence"])
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, "Dataset saved.")
            return redirect("quantisation:texts")
    rows = CalibrationSet.objects.visible_to(user).for_list()
    context = {"texts": rows, "form": form, "may_add": bool(teams), "own": {team.pk for team in teams}}
    return render(request, "quantisation/texts.html", context, status=422 if form.errors else 200)


@view("GET", "POST")
def prompts(request: HttpRequest) -> HttpResponse:
    """Golden prompts of the person's teams; add some."""
    user = person(request)
    teams = teams_of(user, Role.OPERATOR)
    form = PromptsForm(request.POST or None, teams=teams)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            services.add_prompts(user, typed["team"], typed["name"], typed["prompts"])
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, "Golden prompts saved.")
            return redirect("quantisation:prompts")
    rows = PromptSet.objects.visible_to(user).for_list()
    context = {"sets": rows, "form": form, "may_add": bool(teams), "own": {team.pk for team in teams}}
    return render(request, "quantisation/prompts.html", context, status=422 if form.errors else 200)


@view("POST")
def delete_prompts(request: HttpRequest, prompts_id: int) -> HttpResponse:
    user = person(request)
    row = get_object_or_404(PromptSet.objects.visible_to(user).select_related("team"), pk=prompts_id)
    carry_out(request, lambda: services.delete_prompts(user, row), "Golden prompts deleted.")
    return redirect("quantisation:prompts")


@view("GET", "POST")
def text_owner(request: HttpRequest, text_id: int) -> HttpResponse:
    above = (reverse("quantisation:texts"), "Texts")
    return owner_page(
        request, CalibrationSet.objects.all(), text_id, above, "read it, calibrate on it and judge with it"
    )


@view("GET", "POST")
def prompts_owner(request: HttpRequest, prompts_id: int) -> HttpResponse:
    above = (reverse("quantisation:prompts"), "Golden prompts")
    return owner_page(request, PromptSet.objects.all(), prompts_id, above, "read them and have results asked them")


@view("POST")
def delete_text(request: HttpRequest, text_id: int) -> HttpResponse:
    user = person(request)
    text = get_object_or_404(CalibrationSet.objects.visible_to(user).select_related("team"), pk=text_id)
    carry_out(request, lambda: services.delete_text(user, text), "Dataset deleted.")
    return redirect("quantisation:texts")
