"""How signing in differs from django-allauth's defaults."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.http import HttpRequest

from webapp import sealing
from webapp.accounts.auditing import audit
from webapp.accounts.models import User

FACTOR_PLACE = "second-factor"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts are made by invitation, and a lock-out holds for the attacker's address only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # allauth counts failures per account; without the address anybody could lock a colleague out.
        key: str = super()._get_login_attempts_cache_key(request, **credentials)
        return f"{key}:{self.get_client_ip(request)}"

    def send_notification_mail(self, template_prefix: str, user: User, *args: Any, **kwargs: Any) -> None:
        """allauth would write to the person that a factor or the password has changed. No mail is sent here, so it
        goes into the audit log: `mfa/email/totp_activated` becomes the verb `account.totp_activated`."""
        audit(user, None, f"account.{template_prefix.rpartition('/')[2]}"[:60], user.username)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Seeds of one-time codes and of recovery codes are sealed in the database."""

    def encrypt(self, text: str) -> str:
        return sealing.seal(text, FACTOR_PLACE)

    def decrypt(self, encrypted_text: str) -> str:
        return sealing.unseal(encrypted_text, FACTOR_PLACE)
