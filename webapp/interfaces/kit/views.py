"""What every view does: method, sign-in, refusals in words, partial or whole page."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import redirect, render, resolve_url
from django.utils.cache import patch_vary_headers

from webapp.accounts import services as accounts
from webapp.accounts.models import Role, Team, User
from webapp.foundation.errors import NotAllowed, ServiceError

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def view(*methods: str) -> Callable[[View[P]], View[P]]:
    """Only these methods (GET brings HEAD along), and only for people who have signed in."""
    allowed = [*methods, "HEAD"] if "GET" in methods else list(methods)

    def decorate(function: View[P]) -> View[P]:
        @functools.wraps(function)
        def checked(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if request.method not in allowed:
                return HttpResponseNotAllowed(allowed)
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            return function(request, *args, **kwargs)

        # For whoever lists what a page can do.
        checked.methods = allowed  # type: ignore[attr-defined]
        return cast("View[P]", checked)

    return decorate


def person(request: HttpRequest) -> User:
    """Who is signed in. Only in a view."""
    return cast(User, request.user)


def may(user: User, team: Team | None, role: Role) -> bool:
    """Whether the person has this role, for showing or hiding a button; the service checks again."""
    if team is None:
        return user.is_superuser
    try:
        accounts.require(user, team, role)
    except NotAllowed:
        return False
    return True


def is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def page_or_panel(request: HttpRequest, page: str, panel: str, context: Mapping[str, Any]) -> HttpResponse:
    """The panel alone when htmx asked for a part, else the page that includes the same panel."""
    part = is_htmx(request) and request.headers.get("HX-Request-Type", "partial") == "partial"
    response = render(request, panel if part else page, dict(context))
    patch_vary_headers(response, ["HX-Request", "HX-Request-Type"])
    return response


def carry_out(request: HttpRequest, verb: Callable[[], object], said: str) -> bool:
    """Call one service; tell the person what was done, or why not."""
    try:
        verb()
    except ServiceError as refusal:
        messages.error(request, str(refusal))
        return False
    if said:
        messages.success(request, said)
    return True


def answer(
    request: HttpRequest, to: str, panel: str, context: Callable[[], Mapping[str, Any]], *args: Any
) -> HttpResponse:
    """After a POST: htmx gets the panel as it is now (and the messages), a plain form a redirect to the page."""
    if not is_htmx(request):
        return redirect(to, *args)
    response = render(request, "_reply.html", {**context(), "panel": panel})
    response.headers["HX-Replace-Url"] = resolve_url(to, *args)
    return response


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if is_htmx(request):
        # A redirect would be followed by fetch and the sign-in page put into a corner of this one.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return redirect_to_login(request.get_full_path())
