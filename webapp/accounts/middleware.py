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

    Programs with a key are not asked, nor is somebody whom the single sign-on let in: there it is the provider's duty.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if not sign_in.is_second_factor_required() or request.path.startswith(_OPEN) or _is_fine(request):
            return get_response(request)
        if request.path.startswith("/api/"):
            title = "Set up a second factor first."
            return JsonResponse({"type": "about:blank", "title": title, "status": 403}, status=403)
        return redirect("mfa_index")

    return middleware


def _is_fine(request: HttpRequest) -> bool:
    if not request.user.is_authenticated:
        return True  # whoever has not signed in is asked to by the page itself
    # Imported late: these modules want the apps loaded.
    from allauth.account.internal.flows.login import get_authentication_records
    from allauth.mfa.utils import is_mfa_enabled

    if any(step.get("method") == "socialaccount" for step in get_authentication_records(request, request.user)):
        return True
    return bool(is_mfa_enabled(request.user))
