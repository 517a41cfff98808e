"""How signing in differs from django-allauth's defaults."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from webapp.accounts import second_factor, sessions
from webapp.accounts.auditing import audit
from webapp.accounts.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts are made by invitation, a lock-out holds for the attacker's address only, and the audit log hears of it
    all."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # allauth counts failures per account; without the address anybody could lock a colleague out.
        key: str = super()._get_login_attempts_cache_key(request, **credentials)
        return f"{key}:{self.get_client_ip(request)}"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            sessions.refused(sessions.account_of(credentials), "too many failures", sessions.LOCKED_OUT)
            raise

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        account = sessions.account_of(credentials)
        # Django gives a deactivated account the same answer as a wrong password.
        is_shut_out = account is not None and not account.is_active
        sessions.refused(account, "deactivated" if is_shut_out else "wrong password" if account else "unknown")

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        sessions.refused(user, "deactivated")
        response: HttpResponse = super().respond_user_inactive(request, user)
        return response

    def post_login(self, request: HttpRequest, user: User, **more: Any) -> HttpResponse:
        sessions.begun(user, get_authentication_records(request, user))
        response: HttpResponse = super().post_login(request, user, **more)
        return response

    def logout(self, request: HttpRequest) -> None:
        if isinstance(request.user, User):
            sessions.ended(request.user)
        super().logout(request)

    def send_notification_mail(self, template_prefix: str, user: User, *args: Any, **kwargs: Any) -> None:
        """allauth would write to the person that a factor or the password has changed. No mail is sent here, so it
        goes into the audit log: `mfa/email/totp_activated` becomes the verb `account.totp_activated`."""
        audit(user, None, f"account.{template_prefix.rpartition('/')[2]}"[:60], user.username)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Seeds of one-time codes and of recovery codes are sealed in the database."""

    def encrypt(self, text: str) -> str:
        # Factors are set up by the person who is signed in.
        return second_factor.encrypt(context.request.user, text)

    def decrypt(self, encrypted_text: str) -> str:
        return second_factor.decrypt(encrypted_text)
