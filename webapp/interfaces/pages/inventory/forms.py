"""The form for what an admin changes about a host."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms

from webapp.accounts.models import Team
from webapp.foundation.errors import ServiceError
from webapp.inventory.managing import HostChange
from webapp.inventory.models import Host

GIB = 1024**3


class HostForm(forms.Form):
    """Starts with what is; sizes are typed in GiB."""

    labels = forms.CharField(
        required=False,
        max_length=2600,
        help_text="Comma-separated, each key or key=value: rack-3, gpu=a100. Deployments can require them.",
    )
    price_per_hour = forms.DecimalField(
        required=False, min_value=0, max_digits=10, decimal_places=4, label="Price per hour",
        help_text="Hourly cost in your currency. Leave empty to show no costs.",
    )  # fmt: skip
    system_reserved_gib = forms.DecimalField(
        required=False, min_value=0, max_digits=10, decimal_places=2, label="Reserved for the system (GiB)",
        help_text="RAM kept free for the OS. Leave empty for 10 % of the memory, 0.5 to 8 GiB.",
    )  # fmt: skip
    is_shared = forms.BooleanField(
        required=False, label="Every team may use it", help_text="Otherwise only the teams below can see and use it."
    )
    teams = forms.ModelMultipleChoiceField(
        Team.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label="Teams",
        help_text="Counts only while not every team may use the host.",
    )  # fmt: skip

    def __init__(self, data: Mapping[str, Any] | None, host: Host) -> None:
        reserved = host.system_reserved_bytes
        initial = {
            "labels": ", ".join(host.labels),
            "price_per_hour": host.price_per_hour,
            "system_reserved_gib": None if reserved is None else f"{reserved / GIB:.2f}",
            "is_shared": host.is_shared,
            "teams": list(host.grants.values_list("team_id", flat=True)),
        }
        super().__init__(data, initial=initial)
        cast("forms.ModelMultipleChoiceField[Team]", self.fields["teams"]).queryset = Team.objects.order_by("name")

    def change(self) -> HostChange:
        typed = self.cleaned_data
        reserved = typed["system_reserved_gib"]
        return HostChange(
            labels=typed["labels"].split(","),
            price_per_hour=typed["price_per_hour"],
            system_reserved_bytes=None if reserved is None else int(reserved * GIB),
            is_shared=typed["is_shared"],
            teams=list(typed["teams"]),
        )

    def take(self, refusal: ServiceError) -> None:
        """Put a service's refusal beside the field it is about."""
        names = {"system_reserved_bytes": "system_reserved_gib"}
        for name, message in refusal.fields.items():
            field = names.get(name, name)
            self.add_error(field if field in self.fields else None, message)
        if not refusal.fields:
            self.add_error(None, str(refusal))
