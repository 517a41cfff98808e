"""Single sign-on by OpenID Connect: allauth's dance with every check of the specification switched on.

Over what allauth does by itself: the nonce, the signature of the ID token even when it came straight from the
provider, the configured issuer, and userinfo only for the same subject (OpenID Connect Core 1.0, 3.1.3.7 and 5.3.2).
"""

import hmac
import logging
from typing import Any

import jwt
import requests
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from webapp.accounts import addresses, sessions, sign_in, sign_on
from webapp.accounts.auditing import audit
from webapp.accounts.models import SignInSettings, User
from webapp.interfaces.pages.accounts import provider_requests

logger = logging.getLogger(__name__)

PROVIDER = "sso"
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
# Clocks of two machines differ.
LEEWAY_S = 60
MAX_GROUPS = 1000
# The status of a refusal for which nobody tried to sign in.
PROVIDER_SILENT = 502


class SignOnAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """One provider, from our own settings; who may come in, and as what."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        found = sign_in.current()
        if not found.is_sso_on or provider not in (None, PROVIDER, "openid_connect"):
            return []
        return [
            SocialApp(
                provider="openid_connect",
                provider_id=PROVIDER,
                name=found.sso_name or "single sign-on",
                client_id=found.client_id,
                secret=sign_in.client_secret(found),
                settings={"server_url": found.issuer, "oauth_pkce_enabled": True, "uid_field": sign_on.KEY},
            )
        ]

    def get_requests_session(self) -> requests.Session:
        return provider_requests.session(self.request or context.request, sign_in.current().issuer)

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Refuse whom the settings keep out; bring the memberships of a known person up to date."""
        found = sign_in.current()
        claims = sociallogin.account.extra_data
        told = addresses.evaluate(claims, found)
        email = told.address
        if not email:
            raise refused(request, told.why, told.advice)
        if found.email_domains and email.rpartition("@")[2] not in found.email_domains:
            advice = f"An administrator can allow the domain {email.rpartition('@')[2]} under Settings > Sign-in."
            raise refused(request, f"{email} is not in an allowed email domain.", advice)
        if sociallogin.is_existing:
            if sociallogin.user.is_active:
                sign_in.apply_rules(sociallogin.user, groups_of(claims, found))
        elif sociallogin.state.get("process") != "connect" and User.objects.filter(email__iexact=email).exists():
            # Addresses of local accounts are what people typed: they must not decide whose account this is.
            advice = "Sign in with your password, then connect the two on the Security page."
            raise refused(request, f"There is an account with {email} already.", advice)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        if not sign_in.current().makes_people:
            raise refused(request, "You have no account here yet.", "Ask a team admin for an invitation.")
        return True

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        user: User = super().save_user(request, sociallogin, form)
        audit(user, None, "person.create", user.username, {"by": "single sign-on", "email": user.email})
        sign_in.apply_rules(user, groups_of(sociallogin.account.extra_data, sign_in.current()))
        return user

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: Any) -> str:
        return reverse("mfa_index")

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """Always our own page: what went wrong, and what to do."""
        logger.warning("single sign-on failed: %s %s", error, exception or "")
        if str(error) == "cancelled":
            raise refused(request, "Signing in was cancelled.", "Try again, or sign in with a password.")
        what = str(exception) if isinstance(exception, Doubt) else "Unexpected response from the identity provider."
        raise refused(
            request,
            what,
            "Start again from the sign-in page. If it keeps happening, contact your administrator.",
            status=401,
        )


class Doubt(OAuth2Error):  # type: ignore[misc]
    """The provider's answer failed a check; the text is shown."""


class OidcAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Talks to the provider. `nonce` is what this browser's state says was sent along."""

    nonce = ""

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return f"{settings.MODELYARD_URL}{reverse('sso_callback')}"

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        wanted = self.get_provider().app.settings["server_url"]
        announced = str(config.get("issuer", ""))
        if announced.rstrip("/") != wanted.rstrip("/"):
            raise Doubt(
                f"Issuer mismatch: the provider reports {announced[:200]}, but {wanted} is configured. An "
                "administrator can correct the issuer under Settings > Sign-in."
            )
        return config

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any) -> Any:
        claims = self._verified(app, kwargs["response"].get("id_token") or "")
        name = sign_in.current().email_claim
        if not claims.get(name) and self.openid_config.get("userinfo_endpoint"):
            told = self._fetch_user_info(token.token)
            if told.get("sub") != claims["sub"]:
                raise Doubt("The ID token and the userinfo response describe different users.")
            # Names and addresses only: what decides about roles must be signed. An address comes with its own word on
            # whether it is verified.
            wanted = ("name", "preferred_username", "given_name", "family_name")
            claims = {**{word: told[word] for word in wanted if word in told}, **claims}
            claims.update({name: told.get(name), "email_verified": told.get("email_verified")})
        if name != "email":
            # What allauth keeps as the person's address.
            claims["email"] = claims.get(name)
        # allauth would take claims of these names for all there is, another account's id within them included.
        claims = {word: said for word, said in claims.items() if word not in ("userinfo", "id_token")}
        claims[sign_on.KEY] = sign_on.account_key(claims["iss"], claims["sub"])
        return self.get_provider().sociallogin_from_response(request, claims)

    def _verified(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(id_token)
            if header.get("alg") not in ALGORITHMS:
                raise Doubt("Unsupported token signing algorithm.")
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key=self._key(header.get("kid")),
                algorithms=[header["alg"]],
                audience=app.client_id,
                issuer=self.openid_config["issuer"],
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Doubt(f"The provider's token is not valid: {error}.") from error
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != app.client_id:
            raise Doubt("The provider's token was issued to another client (azp mismatch).")
        tenant = sign_in.tenant_of(app.settings["server_url"])
        if tenant and claims.get("tid", tenant) != tenant:
            raise Doubt("Tenant mismatch: the token is from a different tenant than the configured one.")
        if not self.nonce or not hmac.compare_digest(str(claims.get("nonce", "")).encode(), self.nonce.encode()):
            raise Doubt("The token belongs to another sign-in (nonce mismatch).")
        return claims

    def _key(self, kid: str | None) -> Any:
        session = self.get_provider_session()
        with session:
            reply = session.get(self.openid_config["jwks_uri"])
            reply.raise_for_status()
            keys = jwt.PyJWKSet.from_dict(reply.json()).keys
        fitting = [key for key in keys if kid is None or key.key_id == kid]
        if len(fitting) != 1:
            raise Doubt("The token is signed with a key that is not in the provider's JWKS.")
        return fitting[0].key

    def get_provider_session(self) -> Any:
        return SignOnAdapter(self.request).get_requests_session()


def groups_of(claims: dict[str, Any], found: SignInSettings) -> list[str]:
    """The groups that the signed token names; a claim of another form names none."""
    told = claims.get(found.group_claim, [])
    told = [told] if isinstance(told, str) else told
    return [group for group in told if isinstance(group, str)][:MAX_GROUPS] if isinstance(told, list) else []


def refused(request: HttpRequest, what: str, advice: str, status: int = 403) -> ImmediateHttpResponse:
    """To be raised: ends the dance with a page that says why; the audit log hears of it too."""
    if status != PROVIDER_SILENT:
        sessions.refused(None, f"single sign-on: {what}")
    response: HttpResponse = render(
        request, "account/sso_refused.html", {"what": what, "advice": advice}, status=status
    )
    return ImmediateHttpResponse(response)
