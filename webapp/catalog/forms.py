"""Forms of the catalogue."""

from typing import Any, cast

from django import forms

from webapp import paths
from webapp.accounts.models import Team
from webapp.errors import Refused
from webapp.inventory.models import Host


class ImportForm(forms.Form):
    """A file that lies on this machine already."""

    source_path = forms.CharField(
        label="File",
        max_length=1000,
        help_text="Full path of a .gguf file, or of an archive (.whl, .zip) that holds one.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "/srv/models/….gguf"}
        ),
    )
    member = forms.CharField(
        label="File inside the archive", max_length=300, required=False, help_text="Only for archives."
    )
    model_name = forms.CharField(
        label="Model name", max_length=120, required=False, help_text="Empty: the name that the file's header gives."
    )
    team = forms.ModelChoiceField(
        Team.objects.none(), empty_label=None, help_text="Who asks: the job is shown to this team."
    )
    host = forms.ModelChoiceField(Host.objects.none(), empty_label=None, help_text="Where the file goes.")

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data)
        self.roots = [str(root) for root in paths.import_roots()]
        team, host = (
            cast("forms.ModelChoiceField[Team]", self.fields["team"]),
            cast("forms.ModelChoiceField[Host]", self.fields["host"]),
        )
        team.queryset = Team.objects.filter(pk__in=[row.pk for row in teams]).order_by("name")
        host.queryset = Host.objects.online().open_to(teams).order_by("name")

    def take(self, refusal: Refused) -> None:
        """Put a service's refusal beside the field it is about."""
        for name, message in refusal.fields.items():
            self.add_error(name if name in self.fields else None, message)
        if not refusal.fields or refusal.advice:
            self.add_error(None, str(refusal))
