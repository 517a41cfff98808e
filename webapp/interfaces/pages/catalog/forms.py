"""Forms of the catalogue."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms

from webapp.accounts.models import Team
from webapp.catalog.models import DEFAULT_ENDPOINT, Hub
from webapp.foundation import paths
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.picking import Pick, narrow_all
from webapp.inventory.models import Host

QUIET = {"autocomplete": "off", "spellcheck": "false"}


class RefusableForm(forms.Form):
    """Shows what a service refused."""

    def take(self, refusal: ServiceError) -> None:
        """Put a service's refusal beside the field it is about."""
        beside = {name: message for name, message in refusal.fields.items() if name in self.fields}
        for name, message in beside.items():
            self.add_error(name, message)
        # What has no field here is told once, with the advice, at the top.
        elsewhere = [message for name, message in refusal.fields.items() if name not in beside]
        for message in elsewhere:
            if message not in str(refusal):
                self.add_error(None, message)
        if refusal.advice or elsewhere or not refusal.fields:
            self.add_error(None, str(refusal))


class FetchForm(RefusableForm):
    """Who asks for files, and where they go."""

    team = Pick(
        Team.objects.none(), empty_label=None, help_text="Team that owns the job.",
        what="teams",
    )  # fmt: skip
    host = Pick(
        Host.objects.none(), empty_label=None, help_text="Target host.", what="hosts"
    )  # fmt: skip

    def __init__(self, data: Any, *, teams: list[Team], initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        team, host = cast(Pick, self.fields["team"]), cast(Pick, self.fields["host"])
        team.queryset = Team.objects.filter(pk__in=[row.pk for row in teams]).order_by("name")
        host.queryset = Host.objects.online().open_to(teams).order_by("name")

    def narrow(self, typed: Mapping[str, Any]) -> None:
        """Offer a screenful of teams and hosts, with a search beside them. `typed` holds what was searched for."""
        narrow_all(self, typed)


class ImportForm(FetchForm):
    """Files that lie on this machine already."""

    field_order = ("source_path", "member", "model_name")
    source_path = forms.CharField(
        label="Path on the server",
        max_length=1000,
        help_text="Absolute path of a .gguf file, a model folder, or a .zip or .whl archive containing a model.",
        widget=forms.TextInput(attrs={**QUIET, "placeholder": "/srv/models/….gguf"}),
    )
    member = forms.CharField(
        label="File or subfolder",
        max_length=300,
        required=False,
        help_text="Only needed when the archive or folder contains several models.",
    )
    model_name = forms.CharField(
        label="Model name", max_length=120, required=False,
        help_text="Leave empty to use the name in the file's metadata.",
    )  # fmt: skip

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data, teams=teams)
        self.narrow(self.data)
        self.roots = [str(root) for root in paths.import_roots()]


class AddressForm(FetchForm):
    """One GGUF file behind a web address."""

    field_order = ("url", "model_name")
    url = forms.CharField(
        label="URL",
        max_length=2000,
        help_text="https address of a .gguf file. The query string is kept secret.",
        widget=forms.URLInput(attrs={**QUIET, "placeholder": "https://…/model-Q4_K_M.gguf"}),
    )
    model_name = forms.CharField(
        label="Model name", max_length=120, required=False,
        help_text="Leave empty to use the name in the file's metadata.",
    )  # fmt: skip

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data, teams=teams)
        self.narrow(self.data)


class GetForm(FetchForm):
    """One variant of a hub's repository."""

    repo = forms.CharField(max_length=200)
    revision = forms.CharField(max_length=200, required=False)
    variant = forms.CharField(max_length=300)


class ImageForm(RefusableForm):
    """A repository of container images."""

    image = forms.CharField(
        max_length=200,
        help_text="A repository allows all of its images; a digest allows one: ghcr.io/me/engine@sha256:…",
        widget=forms.TextInput(attrs={**QUIET, "placeholder": "ghcr.io/me/engine"}),
    )


class HubForm(RefusableForm):
    """A place to search and fetch from."""

    name = forms.CharField(max_length=80, help_text="Display name.")
    endpoint = forms.CharField(
        label="URL",
        max_length=300,
        required=False,
        help_text=f"Default: HF_ENDPOINT, or {DEFAULT_ENDPOINT}.",
        widget=forms.TextInput(attrs={**QUIET, "placeholder": DEFAULT_ENDPOINT}),
    )
    token = forms.CharField(
        max_length=500,
        required=False,
        help_text="Access token for private and gated repositories. Stored encrypted. Empty keeps the current one.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    forget_token = forms.BooleanField(required=False, label="Remove the stored token")
    allows_private = forms.BooleanField(
        required=False,
        label="On a private network",
        help_text="Allows http:// and private IP ranges for this hub only.",
    )
    is_enabled = forms.BooleanField(required=False, initial=True, label="Enabled")
    teams = forms.ModelMultipleChoiceField(
        Team.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Leave all unchecked to allow every team.",
    )

    @classmethod
    def of(cls, hub: Hub | None, data: Any = None) -> "HubForm":
        if hub is None:
            return cls(data)
        initial = {name: getattr(hub, name) for name in ("name", "endpoint", "allows_private", "is_enabled")}
        return cls(data, initial={**initial, "teams": list(hub.teams.all())})

    def values(self) -> dict[str, Any]:
        """The words of services.save_hub."""
        typed = self.cleaned_data
        token = "" if typed["forget_token"] else (typed["token"] or None)
        kept = {name: typed[name] for name in ("name", "endpoint", "allows_private", "is_enabled")}
        return {**kept, "token": token, "teams": list(typed["teams"])}
