"""The settings of signing in, and the two endpoints of single sign-on."""

import secrets as random_source
from typing import Any, cast

from allauth.account.utils import get_next_redirect_url
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialAccount, SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from requests import RequestException

from webapp.accounts import sign_in
from webapp.accounts.auditing import audit
from webapp.accounts.models import SignInRule, SignInSettings
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.views import person, view
from webapp.interfaces.pages.accounts.forms import SignInForm
from webapp.interfaces.pages.accounts.people import admin
from webapp.interfaces.pages.accounts.sso import PROVIDER, PROVIDER_SILENT, Doubt, OidcAdapter, SignOnAdapter, refused


@never_cache
@view("GET", "POST")
def configure(request: HttpRequest) -> HttpResponse:
    user = admin(request)
    form = SignInForm(request.POST if request.method == "POST" else None, initial=_initial(sign_in.current()))
    if request.method == "POST" and form.is_valid():
        try:
            sign_in.configure(user, form.spec())
        except ServiceError as refusal:
            for name, text in refusal.fields.items() or [(None, str(refusal))]:
                form.add_error(name if name in form.fields else None, text)
        else:
            messages.success(request, "Saved.")
            return redirect("settings:sign_in")
    context = {"form": form, "callback": OidcAdapter(request, PROVIDER).get_callback_url(request, None)}
    return render(request, "settings/sign_in.html", context, status=422 if form.errors else 200)


def _initial(found: SignInSettings) -> dict[str, Any]:
    names = (
        "is_second_factor_required", "is_sso_on", "sso_name", "issuer", "client_id", "makes_people", "group_claim",
        "email_claim", "trusts_addresses",
    )  # fmt: skip
    rules = SignInRule.objects.select_related("team")
    return {
        **{name: getattr(found, name) for name in names},
        "email_domains": " ".join(found.email_domains),
        "rules": "\n".join(f"{rule.group} = {rule.team.slug} : {rule.role}" for rule in rules),
    }


@require_POST
@never_cache
def sso_start(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider. By a page that moves on: the policy lets no form lead to another site."""
    try:
        provider = SignOnAdapter(request).get_provider(request, PROVIDER)
        adapter = OidcAdapter(request, PROVIDER)
        nonce = random_source.token_urlsafe(24)
        process = "connect" if request.user.is_authenticated and "connect" in request.POST else "login"
        provider.get_oauth2_adapter = lambda request: adapter
        reply = provider.redirect(
            request, process, get_next_redirect_url(request), auth_params={"nonce": nonce}, nonce=nonce
        )
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except Doubt as doubt:
        return _page(refused(request, str(doubt), "Until then, sign in with a password.", PROVIDER_SILENT))
    except (RequestException, OAuth2Error, KeyError, ValueError):
        return _page(
            refused(
                request,
                "The identity provider is unreachable, or sent an unexpected response.",
                "Try again in a minute.",
                PROVIDER_SILENT,
            )
        )
    if reply.status_code != 302:
        return cast(HttpResponse, reply)
    return render(request, "account/sso_leaving.html", {"to": reply["Location"], "name": provider.app.name})


class _Callback(OAuth2CallbackView):  # type: ignore[misc]
    """allauth's callback, with the nonce of this browser's state handed to the adapter."""

    def _get_state(self, request: HttpRequest, provider: Any) -> Any:
        state, response = super()._get_state(request, provider)
        if state is not None:
            self.adapter.nonce = state.get("nonce", "")
        return state, response


@require_GET
@never_cache
def sso_callback(request: HttpRequest) -> HttpResponse:
    """Where the provider sends the browser back to."""
    adapter = OidcAdapter(request, PROVIDER)
    try:
        callback = _Callback.adapter_view(adapter)
        response: HttpResponse = callback(request)
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except ImmediateHttpResponse as done:
        response = _page(done)
    except (KeyError, ValueError):
        response = _page(
            refused(request, "Unexpected response from the identity provider.", "Contact your administrator.", 401)
        )
    return response


def _page(raised: ImmediateHttpResponse) -> HttpResponse:
    return cast(HttpResponse, raised.response)


@view("POST")
def sso_disconnect(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    account = get_object_or_404(SocialAccount, pk=pk, user=user)
    if not user.has_usable_password():
        messages.error(request, "Set a password first, or you could no longer sign in.")
    else:
        account.delete()
        audit(user, None, "account.disconnected", user.username)
        messages.success(request, "Disconnected.")
    return redirect("mfa_index")
