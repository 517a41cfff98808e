"""allauth's forms of the second factor, which tell the audit log what did not fit. Everything else is allauth's."""

from typing import Any

from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.webauthn.forms import AuthenticateWebAuthnForm, LoginWebAuthnForm, ReauthenticateWebAuthnForm
from django.core.exceptions import ValidationError

from webapp.accounts import sessions


class _Code:
    user: Any

    def clean_code(self) -> str:
        try:
            code: str = super().clean_code()  # type: ignore[misc]
        except ValidationError as error:
            is_locked = error.code == "too_many_login_attempts"
            verb = sessions.LOCKED_OUT if is_locked else sessions.REFUSED
            sessions.refused(self.user, "too many failures" if is_locked else "wrong code", verb)
            raise
        return code


class _Passkey:
    user: Any

    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except ValidationError:
            # Without a password before it, whose passkey it claims to be is the sender's word alone.
            sessions.refused(self.user, "wrong passkey")
            raise


class CodeForm(_Code, AuthenticateForm):  # type: ignore[misc]
    pass


class CodeAgainForm(_Code, ReauthenticateForm):  # type: ignore[misc]
    pass


class PasskeyForm(_Passkey, AuthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class PasskeyAgainForm(_Passkey, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class PasskeyAloneForm(_Passkey, LoginWebAuthnForm):  # type: ignore[misc]
    pass
