"""Where one-time links lead, and what stands where allauth would send mail."""

from django.contrib import messages
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from webapp.accounts import links, sessions
from webapp.accounts.models import LinkKind, OneTimeLink
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.views import carry_out, person, view
from webapp.interfaces.pages.accounts.forms import NewAccountForm, NewPasswordForm

_BACKEND = "django.contrib.auth.backends.ModelBackend"


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def one_time_link(request: HttpRequest) -> HttpResponse:
    """Join a team or set a password. Whoever has the link may; opening the page alone does not use it up."""
    token = (request.POST if request.method == "POST" else request.GET).get("token", "")
    link = links.find(token)
    if link is None:
        return render(request, "account/link_gone.html", status=410)
    if link.kind == LinkKind.PASSWORD:
        return _password(request, link, token)
    if request.user.is_authenticated:
        return _join(request, link, token)
    return _new_account(request, link, token)


def _new_account(request: HttpRequest, link: OneTimeLink, token: str) -> HttpResponse:
    form = NewAccountForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            user = links.accept_as_new(link, typed["username"], typed["password"], typed["email"])
        except ServiceError as refusal:
            for name, text in refusal.fields.items() or [(None, str(refusal))]:
                form.add_error(name, text)
        else:
            login(request, user, _BACKEND)
            sessions.begun(user, [{"method": "invitation"}])
            assert link.team is not None
            messages.success(request, f"Welcome. You are {link.role} in {link.team.name}.")
            return redirect("dashboard:home")
    context = {"form": form, "link": link, "token": token}
    return render(request, "account/link_new.html", context, status=422 if form.errors else 200)


def _join(request: HttpRequest, link: OneTimeLink, token: str) -> HttpResponse:
    assert link.team is not None
    team = link.team
    if request.method == "POST":
        said = f"You are {link.role} in {team.name}."
        carry_out(request, lambda: links.accept(link, person(request)), said)
        return redirect("teams:index")
    return render(request, "account/link_join.html", {"link": link, "token": token})


def _password(request: HttpRequest, link: OneTimeLink, token: str) -> HttpResponse:
    form = NewPasswordForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            links.set_password(link, form.cleaned_data["password"])
        except ServiceError as refusal:
            for name, text in refusal.fields.items() or [(None, str(refusal))]:
                form.add_error(name, text)
        else:
            messages.success(request, "Password changed. Sign in with the new password.")
            return redirect("account_login")
    context = {"form": form, "link": link, "token": token}
    return render(request, "account/link_password.html", context, status=422 if form.errors else 200)


@view("GET", "POST")
def elsewhere(request: HttpRequest) -> HttpResponse:
    """Pages that allauth knows by name and that would make accounts or send mail: here an admin does the one, and
    nobody the other."""
    messages.info(request, "No email is sent from here. Ask an administrator for an account or a new password.")
    return redirect("dashboard:home")
