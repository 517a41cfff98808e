"""What is noted about every request, and who is led to set up a second factor first."""

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect

from webapp.accounts import sign_in
from webapp.accounts.auditing import Asker, asker

Answer = Callable[[HttpRequest], HttpResponse]
# What somebody without a second factor may still open: setting one up, confirming a password, leaving.
_OPEN = ("/accounts/", "/static/", "/healthz", "/internal/")


def note_asker(get_response: Answer) -> Answer:
    """Put the request's address and id where `audit` finds them; the gateway has written both into the headers."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request_id = request.headers.get("X-Request-ID", "")[:80] or uuid.uuid4().hex
        request.META["HTTP_X_REQUEST_ID"] = request_id
        token = asker.set(Asker(address=request.META.get("REMOTE_ADDR", ""), request_id=request_id))
        try:
            return get_response(request)
        finally:
            asker.reset(token)

    return middleware


def require_second_factor(get_response: Answer) -> Answer:
    """Where the admin asks everybody for a second factor, people without one can do nothing but set it up.

    Programs with a key are not asked.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path.startswith(_OPEN) or not sign_in.is_second_factor_required():
            return get_response(request)
        # Whoever has not signed in is asked to by the page itself.
        if not request.user.is_authenticated or sign_in.lets_in(request):
            return get_response(request)
        if request.path.startswith("/api/"):
            return _missing(request)
        return redirect("mfa_index")

    return middleware


def _missing(request: HttpRequest) -> JsonResponse:
    """The API's own shape of an error; that module stands above this one."""
    words = {
        "type": "about:blank",
        "title": "Set up two-factor authentication first.",
        "status": 403,
        "detail": "An administrator requires it for everyone. Set it up in the dashboard, on the Security page.",
        "request_id": request.headers.get("X-Request-ID", ""),
    }
    return JsonResponse(words, status=403, content_type="application/problem+json")
