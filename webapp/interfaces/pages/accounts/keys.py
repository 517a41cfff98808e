"""Pages of personal API keys; rotation and end of service keys too."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from webapp.accounts import keys as services
from webapp.accounts.models import ApiKey, User
from webapp.accounts.teams import teams_of
from webapp.deployments import sharing
from webapp.deployments.snippets import snippets
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.views import carry_out, page_or_panel, person, view
from webapp.interfaces.pages.accounts.forms import KeyEditForm, KeyForm, RotateForm


@view("GET")
def keys(request: HttpRequest) -> HttpResponse:
    found = listing(
        ApiKey.objects.visible_to(person(request)).for_list(),
        request.GET,
        sorts={"name": ("name",), "created": ("created_at",), "used": ("last_used_at",)},
    )
    return page_or_panel(request, "keys/index.html", "keys/_list.html", {"listing": found, "is_mine": True})


@never_cache
@view("GET", "POST")
def new_key(request: HttpRequest) -> HttpResponse:
    """The answer to the form shows the key: it is kept nowhere, not even in the session, so there is no redirect."""
    user = person(request)
    form = KeyForm(request.POST if request.method == "POST" else None, teams=teams_of(user))
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            key, text = services.create_key(user, typed["team"], typed["name"], typed["scopes"], form.expires_at())
        except ServiceError as refusal:
            form.add_error(None, str(refusal))
        else:
            return shown_once(request, key, text)
    return render(request, "keys/new.html", {"form": form}, status=422 if form.errors else 200)


@never_cache
@view("GET", "POST")
def rotate_key(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    key = _changeable(user, pk)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            new, text = services.rotate_key(user, key, form.cleaned_data["overlap_h"])
        except ServiceError as refusal:
            form.add_error(None, str(refusal))
        else:
            return shown_once(request, new, text)
    return render(request, "keys/rotate.html", {"form": form, "key": key}, status=422 if form.errors else 200)


@view("GET", "POST")
def edit_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Its name, and when it ends."""
    user = person(request)
    key = _changeable(user, pk)
    form = KeyEditForm(request.POST if request.method == "POST" else None, initial={"name": key.name})
    if request.method == "POST" and form.is_valid():
        wanted = form.change()
        carry_out(request, lambda: services.change_key(user, key, **wanted), f"The key {wanted['name']} is saved.")
        return back(key)
    return render(request, "keys/edit.html", {"form": form, "key": key}, status=422 if form.errors else 200)


@view("GET", "POST")
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    key = get_object_or_404(ApiKey.objects.revocable_by(user).select_related("team", "user"), pk=pk)
    if request.method == "POST":
        carry_out(request, lambda: services.revoke_key(user, key), f"The key {key.name} was revoked.")
        return back(key) if key.user_id != user.pk else redirect("accounts:keys")
    return render(request, "keys/revoke.html", {"key": key})


def shown_once(request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
    """The page that shows a new key's text, with code that works as it stands where the team has something to ask."""
    asked = sharing.asked_by(key.team)
    base_url = sharing.base_url(asked) if asked else settings.MODELYARD_URL
    code = sharing.code(asked, text) if asked else snippets(base_url, "MODEL", text)
    shown = {"key": key, "text": text, "base_url": base_url, "asked": asked, "snippets": code}
    return render(request, "keys/created.html", shown)


def back(key: ApiKey) -> HttpResponse:
    """To the list that the key stands in."""
    return redirect("teams:detail", key.team.slug) if key.user.is_service else redirect("accounts:keys")


def _changeable(user: User, pk: int) -> ApiKey:
    """One's own key, or a service key of a team that one administers."""
    own = ApiKey.objects.visible_to(user)
    service = ApiKey.objects.governed_by(user).filter(user__is_service=True)
    return get_object_or_404((own | service).select_related("team", "user").distinct(), pk=pk)
