"""Forms of accounts."""

from datetime import timedelta
from typing import Any, cast

from django import forms
from django.utils import timezone

from webapp.accounts.models import Team
from webapp.accounts.services import SCOPES

_MEANING = {
    "inference": "ask models",
    "read": "see everything through the API",
    "manage": "change things through the API",
}


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(max_length=80, help_text="What will use it, for example “laptop” or “nightly evaluation”.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="Whose models it reaches.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope} – {_MEANING[scope]}") for scope in SCOPES],
        initial=["inference"],
        widget=forms.CheckboxSelectMultiple,
        label="May",
    )
    days = forms.IntegerField(
        label="Expires after days", min_value=1, max_value=3650, required=False, help_text="Empty: never."
    )

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data)
        team = cast("forms.ModelChoiceField[Team]", self.fields["team"])
        team.queryset = Team.objects.filter(pk__in=[row.pk for row in teams]).order_by("name")

    def expires_at(self) -> Any:
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None
