"""What the pages of signing in ask about the settings."""

from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from allauth.socialaccount.models import SocialAccount
from django import template

from webapp.accounts import sign_in

register = template.Library()


@register.simple_tag
def sign_on() -> str:
    """The name of the single sign-on, empty when it is off."""
    found = sign_in.current()
    return (found.sso_name or "single sign-on") if found.is_sso_on else ""


@register.simple_tag(takes_context=True)
def connections(context: dict[str, Any]) -> list[SocialAccount]:
    """The accounts elsewhere that this person can sign in with."""
    return list(SocialAccount.objects.filter(user=context["request"].user))


@register.simple_tag(takes_context=True)
def second_factor_missing(context: dict[str, Any]) -> bool:
    return sign_in.is_second_factor_required() and not is_mfa_enabled(context["request"].user)
