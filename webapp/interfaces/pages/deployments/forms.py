"""Forms of deployments."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any, cast

from django import forms
from django.db.models import Q, QuerySet

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog import naming
from webapp.catalog.models import Artifact, ArtifactQuerySet
from webapp.deployments import checking, limits
from webapp.deployments.models import MAX_ALIAS_CHARS, NAME, Deployment
from webapp.deployments.names import MAX_ALIASES
from webapp.deployments.options import OptionsForm
from webapp.deployments.services import MAX_REPLICAS
from webapp.deployments.spec import FIELDS, DeploymentPatch, DeploymentSpec, RevisionSpec, SpecColumns
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.picking import Pick
from webapp.inventory.models import Host

ALIASES_HELP = (
    "Alternative model names that clients may send, separated by spaces: gpt-4o, meta-llama/Llama-3.1-8B, qwen2.5:7b."
)


def deployable(teams: Sequence[Team]) -> QuerySet[Artifact]:
    """What can be chosen for a new deployment of one of these teams, by name."""
    open_to = Artifact.objects.deployable().open_to(teams)
    return open_to.select_related("catalog_model").order_by("catalog_model__name", "pk")


class PickArtifact(Pick):
    """One of the sets of files that could be served."""

    def __init__(self, label: str = "Model", **options: Any) -> None:
        super().__init__(Artifact.objects.none(), label=label, what="models", **options)

    def labels(self, rows: Sequence[Any]) -> list[str]:
        return naming.labels(rows, cast("ArtifactQuerySet", self.queryset))


class PickHost(Pick):
    """One host, or none: wherever it fits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            Host.objects.none(), required=False, empty_label="Any host with room (automatic)", what="hosts",
            **options,
        )  # fmt: skip


class PickTeam(Pick):
    """One of the teams that the person may act for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Team.objects.none(), empty_label=None, what="teams", **options)


class LabelsField(forms.CharField):
    """Labels with blanks or commas between them; a tuple."""

    def prepare_value(self, value: Any) -> Any:
        return " ".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> Any:
        return tuple(word for word in re.split(r"[\s,]+", super().clean(value)) if word)


def initial_of(row: SpecColumns) -> dict[str, Any]:
    """What a form begins with for what a row says is to run; the options have a form of their own."""
    return {name: getattr(row, f"{name}_id", getattr(row, name)) for name in FIELDS if name != "options"}


def _engine_choices() -> list[tuple[str, str]]:
    return [(name, engines.get(name).title) for name in engines.names()]


class Parts(forms.Form):
    """What the forms of a new and of an existing deployment have in common."""

    engine = forms.ChoiceField(choices=_engine_choices, help_text="The inference server.")
    image = forms.CharField(
        max_length=200,
        required=False,
        help_text="Custom container image, for example registry.example/engine:tag. Leave empty for the engine "
        "default; Settings > Images lists what may run.",
    )
    aliases = forms.CharField(max_length=MAX_ALIASES * (MAX_ALIAS_CHARS + 1), required=False, help_text=ALIASES_HELP)
    placement_labels = LabelsField(
        required=False, max_length=2600, label="Placement labels",
        help_text="Only hosts that have all of these labels, separated by spaces: gpu=a100 rack-3. Leave empty for any "
        "host.",
    )  # fmt: skip
    max_tokens_default = forms.IntegerField(
        required=False, min_value=0, max_value=limits.MOST_TOKENS, label="Default max tokens",
        help_text="For requests that set no max_tokens. Leave empty for the engine default.",
    )  # fmt: skip
    max_tokens_limit = forms.IntegerField(
        required=False, min_value=0, max_value=limits.MOST_TOKENS, label="Max tokens limit",
        help_text="Requests that ask for more are capped to this. Leave empty for no limit. Applies from the next "
        "request on.",
    )  # fmt: skip
    # Beside the engine's options, and what most people leave as it is.
    special = ("image", "placement_labels")

    def __init__(self, data: Mapping[str, Any] | None, initial: dict[str, Any]) -> None:
        super().__init__(data, initial=initial)
        self._chosen: dict[str, Any] = {}

    def engine_name(self) -> str:
        """The engine that will load it: the one chosen so far where that can, else the first that does."""
        typed = self.data.get("engine") if self.is_bound else self.initial.get("engine")
        artifact = self.chosen("artifact")
        fitting = checking.loading(artifact) if artifact is not None else []
        names = fitting or list(engines.names())
        return next((name for name in names if name == typed), names[0])

    def is_of_another_engine(self) -> bool:
        """The options that came along were set out for another engine than the one that will load the model."""
        return self.is_bound and self.data.get("options_of", self.engine_name()) != self.engine_name()

    def clean(self) -> dict[str, Any]:
        typed = super().clean() or self.cleaned_data
        if typed.get("artifact") and typed.get("engine"):
            problem = checking.why_not(typed["engine"], typed["artifact"])
            if problem and checking.loading(typed["artifact"]):
                self.add_error("engine", f"{problem} It is selected now: review its options and submit again.")
            elif problem:
                self.add_error("artifact", problem)
            elif self.is_of_another_engine():
                self.add_error("engine", "The options changed for this engine: review them and submit again.")
        return typed

    def chosen(self, name: str) -> Any:
        """What is chosen in one field so far, whether or not the rest is complete; None for nothing or nonsense."""
        if name not in self._chosen:
            try:
                self._chosen[name] = self.fields[name].clean(self[name].value())
            except forms.ValidationError:
                self._chosen[name] = None
        return self._chosen[name]

    def spec_fields(self, typed: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """What was typed of a RevisionSpec."""
        return {name: typed[name] for name in FIELDS if name in self.fields} | {"options": options}

    def spec_so_far(self, options: dict[str, Any]) -> RevisionSpec | None:
        """What is chosen so far, with the engine that will load it; None without a model."""
        chosen = {name: self.chosen(name) for name in FIELDS if name in self.fields}
        if chosen["artifact"] is None:
            return None
        given = {name: value for name, value in chosen.items() if value is not None}
        return RevisionSpec(**given | {"engine": self.engine_name(), "options": options})

    def special_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.special]

    def has_special(self) -> bool:
        """Whether one of them, or the aliases, is wrong: then they are not folded away."""
        return any(name in self.errors for name in (*self.special, "aliases", *limits.LABELS))

    def take(self, refusal: ServiceError, options: OptionsForm) -> None:
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

    def typed_limits(self) -> dict[str, Any]:
        """What was typed of the length of answers; nothing is no limit. Only for a valid form."""
        return {name: self.cleaned_data[name] or 0 for name in limits.LABELS}

    def limit_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in limits.LABELS]

    def owner(self) -> Team | None:
        """The team whose hosts count."""
        return cast("Team | None", self.chosen("team"))

    def picks(self) -> list[forms.BoundField]:
        """The fields that are a choice among what may be many."""
        return [self[name] for name, field in self.fields.items() if isinstance(field, Pick)]

    def settle(self) -> None:
        """Offer only what fits together: engines that load the model, and a screenful of models and hosts."""
        for pick in self.picks():
            cast(Pick, pick.field).narrow(pick.name, self.data, self.chosen(pick.name))
        artifact = self.chosen("artifact")
        fitting = (checking.loading(artifact) if artifact is not None else []) or list(engines.names())
        # All of them may be sent; what does not fit is refused in words of ours.
        widget = cast(forms.Select, self.fields["engine"].widget)
        widget.choices = [(name, engines.get(name).title) for name in fitting]


class DeploymentForm(Parts):
    """What is served, under which name, for which team, and where."""

    name = forms.CharField(
        max_length=63,
        validators=[NAME],
        help_text="The model name that clients send in the “model” field. Lower-case letters, digits, dots and dashes.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    artifact = PickArtifact(
        empty_label="Choose a model …", help_text="Only models already downloaded to a host are listed."
    )
    team = PickTeam(help_text="The owner. Members of this team can use it.")
    replicas = forms.IntegerField(
        min_value=1, max_value=MAX_REPLICAS, initial=1, help_text="Requests are load-balanced across the replicas."
    )
    host = PickHost(help_text="Automatic placement, or pin it to a host.")

    def __init__(self, data: Mapping[str, Any] | None, *, teams: Sequence[Team], initial: dict[str, Any]) -> None:
        super().__init__(data, initial=initial)
        cast(Pick, self.fields["artifact"]).queryset = deployable(teams)
        owners = cast(Pick, self.fields["team"])
        owners.queryset = Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name")
        if teams:
            owners.initial = teams[0].pk
        cast(Pick, self.fields["host"]).queryset = Host.objects.open_to(teams).order_by("name")
        if not data and not initial.get("artifact"):
            first = deployable(teams).first()
            self.initial["artifact"] = first.pk if first else ""
        if not data and not initial.get("name"):
            self.initial["name"] = self._free_name(teams)
        self.settle()

    def _free_name(self, teams: Sequence[Team]) -> str:
        """A name to begin with: the model's, with a number when it is taken."""
        artifact = self.chosen("artifact")
        if artifact is None or not teams:
            return ""
        stem: str = artifact.catalog_model.slug[:50].strip("-_")
        taken = set(Deployment.objects.filter(team=teams[0], name__startswith=stem).values_list("name", flat=True))
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        return next(name for name in names if name not in taken)

    def wanted(self, options: dict[str, Any]) -> DeploymentSpec:
        """What was typed. Only for a valid form."""
        typed = self.cleaned_data
        names: dict[str, Any] = {name: typed[name] for name in ("name", "replicas", "aliases")}
        limited: dict[str, Any] = self.typed_limits()
        return DeploymentSpec(**names, **limited, **self.spec_fields(typed, options))


class EditForm(Parts):
    """What a deployment runs, where, how often and under which other names."""

    artifact = PickArtifact(empty_label=None)
    host = PickHost(help_text="Automatic placement, or pin it to a host.")
    replicas = forms.IntegerField(
        min_value=0,
        max_value=MAX_REPLICAS,
        help_text="Requests are load-balanced across the replicas. 0 = scaled to zero.",
    )
    note = forms.CharField(
        max_length=200, required=False, help_text="Why you change it; shown in the list of revisions."
    )
    base = forms.IntegerField(min_value=0, required=False, widget=forms.HiddenInput)
    allow_downtime = forms.BooleanField(required=False)

    def __init__(self, data: Mapping[str, Any] | None, deployment: Deployment) -> None:
        super().__init__(data, initial=self._as_it_is(deployment))
        self._team = deployment.team
        open_hosts = Host.objects.open_to([deployment.team]) | Host.objects.filter(pk=deployment.host_id or 0)
        cast(Pick, self.fields["host"]).queryset = open_hosts.order_by("name")
        # What runs may be kept even where nothing new could be made of it.
        offered = Artifact.objects.deployable().open_to([deployment.team])
        kept = Q(pk__in=offered.values("pk")) | Q(pk=deployment.artifact_id)
        rows = Artifact.objects.filter(kept).select_related("catalog_model").order_by("catalog_model__name", "pk")
        cast(Pick, self.fields["artifact"]).queryset = rows
        self.settle()

    def owner(self) -> Team | None:
        return self._team

    @staticmethod
    def _as_it_is(deployment: Deployment) -> dict[str, Any]:
        return {
            **initial_of(deployment),
            "replicas": deployment.desired_replicas,
            "aliases": " ".join(deployment.aliases),
            **{name: getattr(deployment, name) or None for name in limits.LABELS},
            "base": deployment.revision.number if deployment.revision else 0,
        }

    def wanted(self, options: dict[str, Any]) -> DeploymentPatch:
        """The change that was typed. Only for a valid form."""
        typed = self.cleaned_data
        spec = self.spec_fields(typed, options)
        return DeploymentPatch(
            spec, typed["replicas"], typed["aliases"], typed["note"], typed["allow_downtime"], typed["base"],
            **self.typed_limits(),
        )  # fmt: skip
