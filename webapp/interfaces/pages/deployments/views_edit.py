"""Pages where people say what is to run: a new deployment, a changed one, and presets of options."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render

from webapp import engines
from webapp.accounts.models import Role, User
from webapp.accounts.teams import teams_of
from webapp.catalog.models import Artifact
from webapp.deployments import fit as fits
from webapp.deployments import presets, services
from webapp.deployments.models import Deployment, OptionPreset
from webapp.deployments.options import OptionsForm, options_form
from webapp.foundation.errors import ServiceError
from webapp.foundation.text import clean_text, parse_id
from webapp.interfaces.kit.form_faults import first_fault
from webapp.interfaces.kit.picking import clear_errors, is_search
from webapp.interfaces.kit.views import carry_out, may, person, view
from webapp.interfaces.pages.deployments.forms import DeploymentForm, EditForm, Parts, initial_of
from webapp.interfaces.pages.deployments.views_history import own


@view("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """What, how and where on one page; the fit panel answers while people choose."""
    user = person(request)
    form, options = _forms(user, _typed(request), request.GET)
    is_sent = request.method == "POST" and form.is_bound and not _is_unfinished(request)
    if is_sent and form.is_valid() and options.is_valid():
        try:
            deployment = services.create(user, form.cleaned_data["team"], form.wanted(options.chosen()))
        except ServiceError as refusal:
            form.take(refusal, options)
        else:
            messages.success(request, f"{deployment.name} is starting.")
            return redirect("deployments:detail", deployment.pk)
    context = {
        "form": form,
        "options": options,
        "engine": form.engine_name(),
        "kept": OptionPreset.objects.visible_to(user).select_related("team"),
        "presets": presets.available(user, form.engine_name()),
        "fit": (found := _fit(form, options)),
        "blocked": _why_nowhere(found),
        "has_artifacts": Artifact.objects.deployable().visible_to(user).exists(),
    }
    return _page(request, "deployments/new.html", context)


def _typed(request: HttpRequest) -> QueryDict | None:
    """What was sent, with the one value that a button beside a warning puts into its field."""
    if request.method != "POST":
        return None
    name, _equals, value = request.POST.get("use_value", "").partition("=")
    if not name:
        return request.POST
    typed = request.POST.copy()
    typed[f"options-{name}"] = value
    return typed


def _is_unfinished(request: HttpRequest) -> bool:
    """Sent by a button that only fills something in: the form is shown again, and nothing is done."""
    return is_search(request) or "use_value" in request.POST


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """422 says what is wrong; who is not done yet is not told what is still missing."""
    form, options = context["form"], context["options"]
    if _is_unfinished(request):
        clear_errors(form, options)
    return render(request, template, context, status=422 if form.errors or options.errors else 200)


@view("GET", "POST")
def fit(request: HttpRequest) -> HttpResponse:
    """The fit panel for what is typed so far, and the parts of the form that it changes."""
    user = person(request)
    form, options = _forms(user, request.POST, request.GET, is_preview=True)
    found = _fit(form, options)
    context: dict[str, Any] = {"fit": found, "blocked": _why_nowhere(found), "form": form, "options": options}
    context["engine"] = form.engine_name()
    if not options.is_bound:
        context["presets"] = presets.available(user, form.engine_name())
    return render(request, "deployments/_fit_reply.html", context)


def _forms(
    user: User, typed: QueryDict | None, asked: QueryDict, is_preview: bool = False
) -> tuple[DeploymentForm, OptionsForm]:
    """The two forms of the page. `asked` prefills: ?artifact=3 comes from a model's page, ?from=7 clones.

    The options are unbound where those that came along are of another engine than the one that will load the model.
    """
    initial: dict[str, Any] = {"artifact": asked.get("artifact", "")}
    chosen: dict[str, Any] = {}
    source = _to_clone(user, asked.get("from", "")) if typed is None else None
    if source is not None:
        chosen = source.options
        initial = {
            **initial_of(source), "replicas": max(1, source.desired_replicas), "team": source.team_id,
            "name": f"{source.name[:58]}-copy",
        }  # fmt: skip
    preset = _preset(user, (typed or asked).get("preset", ""))
    if preset is not None and (typed is None or "use_preset" in typed):
        # What was typed stays; only the options begin anew.
        initial = {**initial, "engine": preset.engine, **(typed.dict() if typed is not None else {})}
        chosen, typed = preset.options, None
    teams = teams_of(user, Role.OPERATOR)
    form = DeploymentForm(typed, teams=teams, initial=initial)
    if preset is not None and typed is None and preset.engine != form.engine_name():
        chosen = {}
    is_stale = form.is_of_another_engine()
    if is_preview and typed is not None:
        form = DeploymentForm(_settled(typed, form), teams=teams, initial=initial)
    kind = options_form(engines.get(form.engine_name()).Options)
    return form, kind(None if is_stale else typed, prefix="options", initial=chosen)


def _settled(typed: QueryDict, form: Parts) -> QueryDict:
    """What was typed, with the engine that will load the model in the place of one that cannot."""
    settled = typed.copy()
    settled["engine"] = settled["options_of"] = form.engine_name()
    return settled


def _to_clone(user: User, key: str) -> Deployment | None:
    return Deployment.objects.belonging_to(user).filter(pk=parse_id(key) or 0).first()


def _preset(user: User, key: str) -> presets.Preset | None:
    return next((preset for preset in presets.available(user) if preset.key == key), None)


def _fit(form: Parts, options: OptionsForm) -> fits.Fit | None:
    """None while there is nothing to calculate with."""
    is_wrong = options.is_bound and not options.is_valid()
    spec = form.spec_so_far({} if is_wrong else options.chosen())
    if spec is None:
        return None
    if is_wrong:
        return fits.Fit(problem=first_fault(options))
    return fits.answer(spec, form.owner(), most=fits.SHOWN)


def _why_nowhere(found: fits.Fit | None) -> str:
    """Why it would be refused whatever becomes free: no host's hardware can run it."""
    return fits.why_on_no_hardware(found.spec, found.team) if found is not None and found.spec is not None else ""


@view("GET", "POST")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """The settings with what a change of them would do, before it is applied."""
    deployment, user = own(request, pk), person(request)
    form, options = _edit_forms(deployment, _typed(request))
    is_applied = request.method == "POST" and "preview" not in request.POST and not _is_unfinished(request)
    planned, problem = _plan(user, deployment, form, options)
    if is_applied and form.is_valid() and options.is_valid():
        try:
            done = services.edit(user, deployment, form.wanted(options.chosen()))
        except ServiceError as refusal:
            form.take(refusal, options)
        else:
            said = "is being updated, one replica at a time" if done.rolls else "was updated"
            messages.success(request, f"{deployment.name} {said}.")
            return redirect("deployments:detail", pk)
    context = {
        "deployment": deployment,
        "form": form,
        "options": options,
        "engine": form.engine_name(),
        "plan": planned,
        "problem": problem,
        "blocked": _is_refused(planned, form, options),
        "fit": _fit(form, options),
        "may_operate": may(user, deployment.team, Role.OPERATOR),
    }
    return _page(request, "deployments/edit.html", context)


@view("POST")
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """What would change by what is typed so far, and whether it fits."""
    deployment, user = own(request, pk), person(request)
    form, options = _edit_forms(deployment, request.POST, is_preview=True)
    planned, problem = _plan(user, deployment, form, options)
    context = {
        "plan": planned,
        "problem": problem,
        "blocked": _is_refused(planned, form, options),
        "fit": _fit(form, options),
        "form": form,
        "options": options,
        "engine": form.engine_name(),
        "may_operate": may(user, deployment.team, Role.OPERATOR),
    }
    return render(request, "deployments/_change_reply.html", context)


def _edit_forms(
    deployment: Deployment, typed: QueryDict | None, is_preview: bool = False
) -> tuple[EditForm, OptionsForm]:
    form = EditForm(typed, deployment)
    is_stale = form.is_of_another_engine()
    if is_preview and typed is not None:
        form = EditForm(_settled(typed, form), deployment)
    kind = options_form(engines.get(form.engine_name()).Options)
    stored = deployment.options if form.engine_name() == deployment.engine else {}
    return form, kind(None if is_stale else typed, prefix="options", initial=stored)


def _plan(user: User, deployment: Deployment, form: EditForm, options: OptionsForm) -> tuple[services.Plan | None, str]:
    """What the edit would do, or what keeps us from saying it."""
    if not form.is_bound:
        return None, ""
    if not form.is_valid() or (options.is_bound and not options.is_valid()):
        return None, first_fault(form, options)
    try:
        return services.check_edit(user, deployment, form.wanted(options.chosen())), ""
    except ServiceError as refusal:
        return None, str(refusal)


def _is_refused(planned: services.Plan | None, form: EditForm, options: OptionsForm) -> bool:
    """Whether `edit` would refuse what is typed as things are; what is only incomplete is not refused yet."""
    if not form.is_bound or form.errors or options.errors:
        return False
    return planned is None or bool(planned.refusal)


@view("POST")
def keep_preset(request: HttpRequest, pk: int) -> HttpResponse:
    """Keep the deployment's options for the team, under a name."""
    deployment, user, name = own(request, pk), person(request), clean_text(request.POST.get("name"))
    verb = lambda: presets.save(user, deployment.team, deployment.engine, name, deployment.options)  # noqa: E731
    carry_out(request, verb, f"Saved as preset {name}.")
    return redirect("deployments:detail", pk)


@view("POST")
def forget_preset(request: HttpRequest, pk: int) -> HttpResponse:
    preset = get_object_or_404(OptionPreset.objects.visible_to(person(request)).select_related("team"), pk=pk)
    carry_out(request, lambda: presets.delete(person(request), preset), f"Deleted the preset {preset.name}.")
    return redirect("deployments:new")
