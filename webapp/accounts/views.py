"""Pages of personal API keys, and what is said where allauth would send mail."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from webapp.accounts import services
from webapp.accounts.forms import KeyForm
from webapp.accounts.models import ApiKey
from webapp.doors import carry_out, door, page_or_panel, person, teams_of
from webapp.errors import Refused
from webapp.listings import listing
from webapp.snippets import snippets


@door("GET")
def keys(request: HttpRequest) -> HttpResponse:
    found = listing(
        ApiKey.objects.visible_to(person(request)).for_list(),
        request.GET,
        search=("name", "prefix", "team__name"),
        sorts={"name": ("name",), "created": ("created_at",), "used": ("last_used_at",)},
    )
    return page_or_panel(request, "keys/index.html", "keys/_list.html", {"listing": found})


@never_cache
@door("GET", "POST")
def new_key(request: HttpRequest) -> HttpResponse:
    """The answer to the form shows the key: it is kept nowhere, not even in the session, so there is no redirect."""
    user = person(request)
    form = KeyForm(request.POST if request.method == "POST" else None, teams=teams_of(user))
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            key, text = services.create_key(user, typed["team"], typed["name"], typed["scopes"], form.expires_at())
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            shown = {"key": key, "text": text, "base_url": settings.MODELYARD_URL}
            return render(
                request, "keys/created.html", {**shown, "snippets": snippets(settings.MODELYARD_URL, "MODEL", text)}
            )
    return render(request, "keys/new.html", {"form": form}, status=422 if form.errors else 200)


@door("GET", "POST")
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    key = get_object_or_404(ApiKey.objects.visible_to(user).select_related("team"), pk=pk)
    if request.method == "POST":
        carry_out(request, lambda: services.revoke_key(user, key), f"The key {key.name} opens nothing any more.")
        return redirect("accounts:keys")
    return render(request, "keys/revoke.html", {"key": key})


def no_mail(request: HttpRequest) -> HttpResponse:
    """This Modelyard sends no mail, so nothing here may promise one."""
    if request.method == "POST":
        messages.error(request, "This Modelyard sends no mail.")
    return render(request, "account/no_mail.html")
