"""Forms of accounts."""

from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.utils import timezone

from webapp.accounts.keys import OVERLAPS_H, SCOPES
from webapp.accounts.models import Role, Team
from webapp.accounts.sign_in import SignInSpec

_MEANING = {
    "inference": "call models",
    "read": "read-only API access",
    "manage": "read/write API access",
}
_ROLE_MEANING = {
    Role.VIEWER: "viewer – sees everything and can call models",
    Role.OPERATOR: "operator – also manages deployments, models and jobs",
    Role.ADMIN: "admin – also manages members and keys",
}
ROLE_CHOICES = [(role.value, _ROLE_MEANING[role]) for role in Role]
_OVERLAP_WORDS = {0: "revoke immediately", 24: "keep valid for 24 hours", 168: "keep valid for 7 days"}
EXPIRIES = [("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year")]


def _ends(days: str | int | None) -> datetime | None:
    return timezone.now() + timedelta(days=int(days)) if days else None


class KeyForm(forms.Form):
    """A new API key; `teams` is the choice, one team for a service key."""

    name = forms.CharField(max_length=80, help_text="Where it is used, e.g. “laptop” or “nightly evaluation”.")
    team = forms.ModelChoiceField(
        Team.objects.none(), empty_label=None, help_text="The key can call this team's models."
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope} – {_MEANING[scope]}") for scope in SCOPES],
        initial=["inference"],
        widget=forms.CheckboxSelectMultiple,
        label="Scopes",
    )
    days = forms.IntegerField(
        label="Expires in (days)", min_value=1, max_value=3650, required=False, help_text="Leave empty for no expiry."
    )

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data)
        team = cast("forms.ModelChoiceField[Team]", self.fields["team"])
        team.queryset = Team.objects.filter(pk__in=[row.pk for row in teams]).order_by("name")

    def expires_at(self) -> datetime | None:
        return _ends(self.cleaned_data["days"])


class RotateForm(forms.Form):
    overlap_h = forms.TypedChoiceField(
        choices=[(hours, _OVERLAP_WORDS[hours]) for hours in OVERLAPS_H],
        coerce=int,
        initial=24,
        label="Old key",
        help_text="Grace period to switch clients over.",
    )


AS_IT_IS = "as it is"


class KeyEditForm(forms.Form):
    """What of a key can be changed."""

    name = forms.CharField(max_length=80)
    days = forms.ChoiceField(
        choices=[(AS_IT_IS, "unchanged"), *EXPIRIES], required=False, label="Expires", initial=AS_IT_IS
    )

    def change(self) -> dict[str, Any]:
        """As `keys.change_key` wants it."""
        days = self.cleaned_data["days"]
        ends = {} if days == AS_IT_IS else {"expires_at": _ends(days)}
        return {"name": self.cleaned_data["name"], **ends}


class InvitationForm(forms.Form):
    role = forms.ChoiceField(choices=ROLE_CHOICES, initial=Role.OPERATOR.value)
    note = forms.CharField(
        max_length=200,
        required=False,
        label="Note",
        help_text="Shown in the invitation list, e.g. a name or email address.",
    )


class MemberForm(forms.Form):
    username = forms.CharField(max_length=150)
    role = forms.ChoiceField(choices=ROLE_CHOICES, initial=Role.OPERATOR.value)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=[(role.value, role.value) for role in Role])


class TeamForm(forms.Form):
    name = forms.CharField(max_length=80)
    slug = forms.CharField(
        max_length=40,
        required=False,
        label="Slug",
        help_text="Part of the URLs of the team's deployments. Leave empty to derive it from the name.",
    )


class NewAccountForm(forms.Form):
    """For somebody who was invited."""

    username = forms.CharField(max_length=150, label="Username", help_text="Letters, digits and @ . + - _")
    email = forms.EmailField(required=False, label="Email", help_text="Optional. No email is sent.")
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters. Common passwords are rejected.",
    )
    again = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), label="Confirm password"
    )

    def clean_again(self) -> str:
        again: str = self.cleaned_data["again"]
        if again != self.cleaned_data.get("password"):
            raise forms.ValidationError("The passwords don't match.")
        return again


class NewPasswordForm(forms.Form):
    password = NewAccountForm.base_fields["password"]
    again = NewAccountForm.base_fields["again"]
    clean_again = NewAccountForm.clean_again


class SignInForm(forms.Form):
    """How people sign in. Rules are lines of text: `group = team : role`."""

    is_second_factor_required = forms.BooleanField(
        required=False,
        label="Require two-factor authentication for everyone",
        help_text="People without it are sent to set it up after signing in. API keys are not affected.",
    )
    is_sso_on = forms.BooleanField(required=False, label="Single sign-on with OpenID Connect")
    sso_name = forms.CharField(
        max_length=60, required=False, label="Button label", help_text="For example the company's name."
    )
    issuer = forms.CharField(
        max_length=300,
        required=False,
        label="Issuer",
        help_text="The provider's URL, from which its discovery document is read.",
    )
    client_id = forms.CharField(max_length=200, required=False, label="Client ID")
    client_secret = forms.CharField(
        max_length=500,
        required=False,
        label="Client secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Stored encrypted and never shown again. Leave empty to keep the current one.",
    )
    email_domains = forms.CharField(
        max_length=1000,
        required=False,
        label="Allowed email domains",
        help_text="Separated by spaces. Leave empty to allow every verified address of this provider.",
    )
    email_claim = forms.CharField(
        max_length=60,
        required=False,
        label="Email claim",
        help_text="Usually email. Microsoft Entra ID uses upn or preferred_username.",
    )
    trusts_addresses = forms.BooleanField(
        required=False,
        label="Trust email addresses from this provider",
        help_text="For providers that do not send email_verified, such as Microsoft Entra ID: whoever administers "
        "the provider then decides who is who here. Not for providers where anybody can register. An address "
        "that the provider reports as unverified is still refused.",
    )
    makes_people = forms.BooleanField(
        required=False,
        label="Create accounts automatically (just-in-time provisioning)",
        help_text="Otherwise only people who have connected their account can sign in with single sign-on.",
    )
    group_claim = forms.CharField(
        max_length=60,
        required=False,
        label="Groups claim",
        help_text="Read from the signed ID token only.",
    )
    rules = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        label="Group → role mapping",
        help_text="One rule per line: group = team : role. Memberships are added and removed at sign-in; "
        "a team keeps its last admin.",
    )

    def clean_rules(self) -> tuple[tuple[str, Team, Role], ...]:
        teams = {team.slug: team for team in Team.objects.all()}
        found = []
        for line in filter(None, map(str.strip, self.cleaned_data["rules"].splitlines())):
            group, _, rest = line.rpartition("=")
            slug, _, role = (part.strip() for part in rest.partition(":"))
            if not group.strip() or slug not in teams or role not in Role.values:
                known = ", ".join(sorted(teams))
                raise forms.ValidationError(
                    f"“{line[:80]}” is not group = team : role. Teams: {known}. Roles: {', '.join(Role.values)}."
                )
            found.append((group.strip()[:200], teams[slug], Role(role)))
        return tuple(found)

    def spec(self) -> SignInSpec:
        typed = dict(self.cleaned_data)
        domains = tuple(typed.pop("email_domains").replace(",", " ").split())
        return SignInSpec(**typed, email_domains=domains)
