"""Forms of deployments."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any, cast

from django import forms

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact
from webapp.deployments.models import NAME, Deployment
from webapp.deployments.options import OptionsForm
from webapp.deployments.services import MAX_REPLICAS, Edit, Wish
from webapp.errors import Refused
from webapp.inventory.models import Host

ALIASES_HELP = "Other model names that programs may send, separated by spaces."
IMAGE_HELP = "Another image than the engine's own."


class Parts(forms.Form):
    """What the forms of a new and of an existing deployment have in common."""

    def engine_name(self) -> str:
        """The engine chosen so far, or the first one."""
        typed = self.data.get("engine") if self.is_bound else self.initial.get("engine")
        names = engines.names()
        return next((name for name in names if name == typed), names[0])

    def chosen(self, name: str) -> Any:
        """What is chosen in one field so far, whether or not the rest is complete; None for nothing or nonsense."""
        field = self.fields[name]
        try:
            return field.clean(self[name].value())
        except forms.ValidationError:
            return None

    def take(self, refusal: Refused, options: OptionsForm) -> None:
        """Put a service's refusal beside the fields it is about."""
        for name, message in refusal.fields.items():
            form: forms.Form = options if name.startswith("options.") else self
            field = name.removeprefix("options.").partition(".")[0]
            form.add_error(field if field in form.fields else None, message)
        if not refusal.fields:
            self.add_error(None, str(refusal))

    def clean_aliases(self) -> tuple[str, ...]:
        words = re.split(r"[\s,]+", self.cleaned_data["aliases"])
        return tuple(dict.fromkeys(word for word in words if word))

    def owner(self) -> Team | None:
        """The team whose hosts count."""
        return cast("Team | None", self.chosen("team"))

    def _fill_choices(self) -> None:
        artifacts = cast("forms.ModelChoiceField[Artifact]", self.fields["artifact"])
        artifacts.queryset = (
            Artifact.objects.deployable().select_related("catalog_model").order_by("catalog_model__name")
        )
        names = engines.names()
        cast(forms.ChoiceField, self.fields["engine"]).choices = [(name, engines.get(name).title) for name in names]


class DeploymentForm(Parts):
    """What is served, under which name, for which team, and where."""

    name = forms.CharField(
        max_length=63,
        validators=[NAME],
        help_text="What programs write as “model”. Lower-case letters, digits, dots and dashes.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    artifact = forms.ModelChoiceField(
        Artifact.objects.none(),
        label="Model",
        empty_label="Choose a model …",
        help_text="Files that are on a host already.",
    )
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="Who owns it and may use it.")
    engine = forms.ChoiceField(help_text="The server that loads the model.")
    replicas = forms.IntegerField(
        min_value=1, max_value=MAX_REPLICAS, initial=1, help_text="Copies that share the requests."
    )
    host = forms.ModelChoiceField(
        Host.objects.order_by("name"),
        required=False,
        empty_label="Wherever it fits",
        help_text="Leave it to Modelyard, or pin it.",
    )
    image = forms.CharField(max_length=200, required=False, help_text=IMAGE_HELP)
    aliases = forms.CharField(max_length=1100, required=False, help_text=ALIASES_HELP)

    def __init__(self, data: Mapping[str, Any] | None, *, teams: Sequence[Team], initial: dict[str, Any]) -> None:
        super().__init__(data, initial=initial)
        self._fill_choices()
        owners = cast("forms.ModelChoiceField[Team]", self.fields["team"])
        owners.queryset = Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name")
        if teams:
            owners.initial = teams[0].pk
        hosts = cast("forms.ModelChoiceField[Host]", self.fields["host"])
        hosts.queryset = Host.objects.open_to(teams).order_by("name")
        if not data and not initial.get("artifact"):
            offered = cast("forms.ModelChoiceField[Artifact]", self.fields["artifact"]).queryset
            first = offered.first() if offered is not None else None
            self.initial["artifact"] = first.pk if first else ""
        if not data and not initial.get("name"):
            self.initial["name"] = self._free_name(teams)

    def _free_name(self, teams: Sequence[Team]) -> str:
        """A name to begin with: the model's, with a number when it is taken."""
        artifact = self.chosen("artifact")
        if artifact is None or not teams:
            return ""
        stem: str = artifact.catalog_model.slug[:50].strip("-_")
        taken = set(Deployment.objects.filter(team=teams[0], name__startswith=stem).values_list("name", flat=True))
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        return next(name for name in names if name not in taken)

    def wish(self, options: dict[str, Any]) -> Wish:
        typed = self.cleaned_data
        return Wish(
            name=typed["name"],
            artifact=typed["artifact"],
            engine=typed["engine"],
            options=options,
            replicas=typed["replicas"],
            host=typed["host"],
            image=typed["image"],
            aliases=typed["aliases"],
        )


class EditForm(Parts):
    """What a deployment runs, where, how often and under which other names."""

    artifact = forms.ModelChoiceField(Artifact.objects.none(), label="Model", empty_label=None)
    engine = forms.ChoiceField(help_text="The server that loads the model.")
    image = forms.CharField(max_length=200, required=False, help_text=IMAGE_HELP)
    host = forms.ModelChoiceField(
        Host.objects.order_by("name"), required=False, empty_label="Wherever it fits", help_text="Leave it, or pin it."
    )
    replicas = forms.IntegerField(
        min_value=0, max_value=MAX_REPLICAS, help_text="Copies that share the requests; 0 keeps it without any."
    )
    aliases = forms.CharField(max_length=1100, required=False, help_text=ALIASES_HELP)
    note = forms.CharField(max_length=200, required=False, help_text="Why, for the list of revisions.")
    base = forms.IntegerField(min_value=0, required=False, widget=forms.HiddenInput)
    may_gap = forms.BooleanField(required=False)

    def __init__(self, data: Mapping[str, Any] | None, deployment: Deployment) -> None:
        super().__init__(data, initial=self._as_it_is(deployment))
        self._team = deployment.team
        self._fill_choices()
        hosts = cast("forms.ModelChoiceField[Host]", self.fields["host"])
        open_hosts = Host.objects.open_to([deployment.team]) | Host.objects.filter(pk=deployment.host_id or 0)
        hosts.queryset = open_hosts.order_by("name")
        artifacts = cast("forms.ModelChoiceField[Artifact]", self.fields["artifact"])
        if artifacts.queryset is not None:
            # What runs may be kept even where nothing new could be made of it.
            kept = Artifact.objects.filter(pk=deployment.artifact_id)
            ids = [*artifacts.queryset.values_list("pk", flat=True), *kept.values_list("pk", flat=True)]
            artifacts.queryset = Artifact.objects.filter(pk__in=ids).select_related("catalog_model")

    def owner(self) -> Team | None:
        return self._team

    @staticmethod
    def _as_it_is(deployment: Deployment) -> dict[str, Any]:
        return {
            "artifact": deployment.artifact_id,
            "engine": deployment.engine,
            "image": deployment.image,
            "host": deployment.host_id,
            "replicas": deployment.desired_replicas,
            "aliases": " ".join(deployment.aliases),
            "base": deployment.revision.number if deployment.revision else 0,
        }

    def wanted(self, options: dict[str, Any]) -> Edit:
        """The edit that was typed. Only for a valid form."""
        typed = self.cleaned_data
        contents = {name: typed[name] for name in ("artifact", "engine", "image", "host")} | {"options": options}
        return Edit(contents, typed["replicas"], typed["aliases"], typed["note"], typed["may_gap"], typed["base"])
