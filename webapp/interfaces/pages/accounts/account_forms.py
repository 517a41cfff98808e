"""allauth's own forms in the words of the other pages: sentence case, no placeholder that repeats a label."""

from typing import Any

from allauth.account.forms import ChangePasswordForm, LoginForm, SetPasswordForm

_LABELS = {"oldpassword": "Current password", "password1": "New password", "password2": "Confirm password"}


class SignInPageForm(LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _without_placeholders(self)
        self.fields["remember"].label = "Remember me"
        # Its link offers a mail that is never sent; the page says whom to ask instead.
        self.fields["password"].help_text = ""


class PasswordChangeForm(ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _in_our_words(self)


class FirstPasswordForm(SetPasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _in_our_words(self)


def _in_our_words(form: Any) -> None:
    _without_placeholders(form)
    for name, field in form.fields.items():
        field.label = _LABELS.get(name, field.label)
        if name == "oldpassword":
            field.help_text = ""


def _without_placeholders(form: Any) -> None:
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)
