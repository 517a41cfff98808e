"""Forms of deployments, among them the one function that turns an engine's options into a form."""

import enum
import types
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import Any, Literal, Union, cast, get_args, get_origin

import annotated_types
from django import forms
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from webapp import engines
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact
from webapp.deployments.models import NAME, Deployment
from webapp.deployments.services import MAX_REPLICAS, Wish
from webapp.errors import Refused
from webapp.inventory.models import Host


class OptionsForm(forms.Form):
    """An engine's options. What stays at its default is not stored, so that better defaults reach old deployments."""

    defaults: Mapping[str, Any] = {}

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults; nothing while the form is empty. Only for a valid or an unbound form."""
        if not self.is_bound:
            return {}
        typed = {name: self.cleaned_data.get(name) for name in self.defaults}
        return {
            name: value for name, value in typed.items() if value not in (None, "") and value != self.defaults[name]
        }


def options_form(options: type[BaseModel]) -> type[OptionsForm]:
    """A form with one field per option: kind, limits, default and help come from the pydantic model."""
    fields = {name: _field(name, info) for name, info in options.model_fields.items()}
    defaults = {
        name: _plain(info.get_default(call_default_factory=True)) for name, info in options.model_fields.items()
    }
    return cast(type[OptionsForm], type("EngineOptionsForm", (OptionsForm,), {**fields, "defaults": defaults}))


class DeploymentForm(forms.Form):
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

    def __init__(self, data: Mapping[str, Any] | None, *, teams: Sequence[Team], initial: dict[str, Any]) -> None:
        super().__init__(data, initial=initial)
        artifacts = cast("forms.ModelChoiceField[Artifact]", self.fields["artifact"])
        artifacts.queryset = (
            Artifact.objects.deployable().select_related("catalog_model").order_by("catalog_model__name")
        )
        owners = cast("forms.ModelChoiceField[Team]", self.fields["team"])
        owners.queryset = Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name")
        if teams:
            owners.initial = teams[0].pk
        hosts = cast("forms.ModelChoiceField[Host]", self.fields["host"])
        hosts.queryset = Host.objects.open_to(teams).order_by("name")
        names = engines.names()
        cast(forms.ChoiceField, self.fields["engine"]).choices = [(name, engines.get(name).title) for name in names]
        if not data and not initial.get("artifact"):
            first = artifacts.queryset.first()
            self.initial["artifact"] = first.pk if first else ""
        if not data:
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

    def engine_name(self) -> str:
        """The engine chosen so far, or the first one."""
        typed = self.data.get("engine") if self.is_bound else None
        names = engines.names()
        return next((name for name in names if name == typed), names[0])

    def chosen(self, name: str) -> Any:
        """What is chosen in one field so far, whether or not the rest is complete; None for nothing or nonsense."""
        field = self.fields[name]
        try:
            return field.clean(self[name].value())
        except forms.ValidationError:
            return None

    def wish(self, options: dict[str, Any]) -> Wish:
        typed = self.cleaned_data
        return Wish(
            name=typed["name"],
            artifact=typed["artifact"],
            engine=typed["engine"],
            options=options,
            replicas=typed["replicas"],
            host=typed["host"],
        )

    def take(self, refusal: Refused, options: OptionsForm) -> None:
        """Put a service's refusal beside the fields it is about."""
        for name, message in refusal.fields.items():
            form: forms.Form = options if name.startswith("options.") else self
            field = name.removeprefix("options.").partition(".")[0]
            form.add_error(field if field in form.fields else None, message)
        if not refusal.fields:
            self.add_error(None, str(refusal))


def _field(name: str, info: FieldInfo) -> forms.Field:
    """One form field for one option."""
    kind, optional = _without_none(info.annotation)
    default = _plain(info.get_default(call_default_factory=True))
    common: dict[str, Any] = {
        "label": info.title or name.replace("_", " ").capitalize(),
        "help_text": info.description or "",
        "required": False,
        "initial": default,
    }
    if kind is bool:
        return forms.BooleanField(**common) if not optional else forms.NullBooleanField(**common)
    choices = _choices(kind)
    if choices:
        empty = [("", "automatic")] if optional else []
        return forms.TypedChoiceField(choices=empty + choices, coerce=_same_kind(choices), empty_value=None, **common)
    limits = _limits(info)
    if kind in (int, float):
        number = forms.IntegerField if kind is int else forms.FloatField
        field = number(min_value=limits.get("ge"), max_value=limits.get("le"), **common)
        if default is None:
            field.widget.attrs["placeholder"] = "automatic"
        return field
    return forms.CharField(max_length=limits.get("max_length"), **common)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _choices(kind: Any) -> list[tuple[Any, str]]:
    if get_origin(kind) is Literal:
        return [(value, str(value)) for value in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [(member.value, str(member.value)) for member in kind]
    return []


def _same_kind(choices: list[tuple[Any, str]]) -> Callable[[Any], Any]:
    """Browsers send text; the option wants the value that the text stands for."""
    by_text = {str(value): value for value, _label in choices}
    return lambda text: by_text[str(text)]


def _limits(info: FieldInfo) -> dict[str, Any]:
    """The limits that pydantic keeps as annotations; an exclusive one becomes the next inclusive integer."""
    limits: dict[str, Any] = {}
    for mark in info.metadata:
        if isinstance(mark, annotated_types.Ge):
            limits["ge"] = mark.ge
        elif isinstance(mark, annotated_types.Gt) and isinstance(mark.gt, int):
            limits["ge"] = mark.gt + 1
        elif isinstance(mark, annotated_types.Le):
            limits["le"] = mark.le
        elif isinstance(mark, annotated_types.Lt) and isinstance(mark.lt, int):
            limits["le"] = mark.lt - 1
        elif isinstance(mark, annotated_types.MaxLen):
            limits["max_length"] = mark.max_length
    return limits


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value
