"""Pages for an administrator: who has an account."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from webapp.accounts import links, people
from webapp.accounts.models import User
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.views import carry_out, page_or_panel, person, view


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    admin(request)
    found = listing(
        User.objects.for_list(),
        request.GET,
        sorts={"name": ("username",), "joined": ("date_joined",), "seen": ("last_login",)},
    )
    return page_or_panel(request, "people/index.html", "people/_list.html", {"listing": found})


@view("POST")
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, people.deactivate, "{} was deactivated. Sessions and API keys no longer work.")


@view("POST")
def reactivate(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, people.reactivate, "{} may sign in again.")


@view("POST")
def end_sessions(request: HttpRequest, pk: int) -> HttpResponse:
    verb = lambda user, who: people.end_sessions(user, who, request)  # noqa: E731
    return _ask(request, pk, verb, "{} has been signed out of all sessions.")


@view("POST")
def remove_second_factor(request: HttpRequest, pk: int) -> HttpResponse:
    return _ask(request, pk, people.remove_second_factor, "{} no longer has two-factor authentication.")


@view("POST")
def end_my_sessions(request: HttpRequest) -> HttpResponse:
    """Sign oneself out everywhere but here."""
    user = person(request)
    carry_out(request, lambda: people.end_sessions(user, user, request), "You are signed out of all other sessions.")
    return redirect("mfa_index")


@view("POST")
def make_admin(request: HttpRequest, pk: int) -> HttpResponse:
    verb = lambda user, who: people.set_installation_admin(user, who, True)  # noqa: E731
    return _ask(request, pk, verb, "{} is now an administrator.")


@view("POST")
def take_admin(request: HttpRequest, pk: int) -> HttpResponse:
    verb = lambda user, who: people.set_installation_admin(user, who, False)  # noqa: E731
    return _ask(request, pk, verb, "{} is no longer an administrator.")


@never_cache
@view("GET", "POST")
def password_link(request: HttpRequest, pk: int) -> HttpResponse:
    user = admin(request)
    who = get_object_or_404(User.objects.people(), pk=pk)
    if request.method == "POST":
        try:
            link, address = links.password_link(user, who)
        except ServiceError as refusal:
            return render(request, "people/password_link.html", {"who": who, "error": str(refusal)}, status=409)
        return render(request, "people/password_link.html", {"who": who, "link": link, "address": address})
    return render(request, "people/password_link.html", {"who": who})


def admin(request: HttpRequest) -> User:
    """Who is signed in, when it is an administrator; to anybody else the page does not exist."""
    return get_object_or_404(User, pk=person(request).pk, is_superuser=True)


def _ask(request: HttpRequest, pk: int, verb: Callable[[User, User], None], said: str) -> HttpResponse:
    user = admin(request)
    who = get_object_or_404(User.objects.people(), pk=pk)
    carry_out(request, lambda: verb(user, who), said.format(who.username))
    return redirect("people:index")
