"""Pages of notification targets."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from webapp.accounts.models import Role, Team, User
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.views import carry_out, may, person, view
from webapp.interfaces.pages.schedules.forms import TargetEventsForm, TargetForm
from webapp.schedules import mailing, targets
from webapp.schedules.models import Notification, Target

SHOWN = 50


@never_cache
@view("GET", "POST")
def index(request: HttpRequest, slug: str) -> HttpResponse:
    """Where the team is told, what was sent lately, and a form for one more."""
    user = person(request)
    team = get_object_or_404(Team.objects.visible_to(user).distinct(), slug=slug)
    form = TargetForm(request.POST or None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            _target, secret = targets.add(user, team, typed["kind"], typed["address"], typed["events"])
        except ServiceError as refusal:
            form.take(refusal)
        else:
            if not secret:
                messages.success(request, "Target added.")
                return redirect("schedules:targets", slug)
            form = TargetForm(None)
    context = {
        "team": team, "form": form, "secret": secret, "may_govern": may(user, team, Role.ADMIN),
        "targets": Target.objects.filter(team=team).order_by("id"), "can_mail": mailing.is_possible(),
        "log": Notification.objects.filter(target__team=team).select_related("target").order_by("-id")[:SHOWN],
    }  # fmt: skip
    return render(request, "schedules/targets.html", context, status=422 if form.errors else 200)


@view("GET", "POST")
def edit(request: HttpRequest, target_id: int) -> HttpResponse:
    """What it is told."""
    user, target = person(request), _one(person(request), target_id)
    if not may(user, target.team, Role.ADMIN):
        raise PermissionDenied("Only a team admin may change notification targets.")
    form = TargetEventsForm(request.POST if request.method == "POST" else None, initial={"events": target.events})
    if request.method == "POST" and form.is_valid():
        try:
            targets.change(user, target, form.cleaned_data["events"])
        except ServiceError as refusal:
            form.take(refusal)
        else:
            messages.success(request, "Target updated.")
            return redirect("schedules:targets", target.team.slug)
    context = {"form": form, "target": target}
    return render(request, "schedules/target_edit.html", context, status=422 if form.errors else 200)


@view("POST")
def test(request: HttpRequest, target_id: int) -> HttpResponse:
    user, target = person(request), _one(person(request), target_id)
    carry_out(request, lambda: targets.test(user, target), "Test notification queued.")
    return redirect("schedules:targets", target.team.slug)


@view("POST")
def delete(request: HttpRequest, target_id: int) -> HttpResponse:
    user, target = person(request), _one(person(request), target_id)
    carry_out(request, lambda: targets.delete(user, target), "Target deleted.")
    return redirect("schedules:targets", target.team.slug)


def _one(user: User, target_id: int) -> Target:
    return get_object_or_404(Target.objects.visible_to(user).select_related("team"), pk=target_id)
