"""The one function that turns an engine's options into a form, and the form."""

import enum
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin

import annotated_types
from django import forms
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from webapp.engines.base import EngineOptions


class OptionsForm(forms.Form):
    """An engine's options. What stays at its default is not stored, so that better defaults reach old deployments."""

    defaults: Mapping[str, Any] = {}
    # What nearly everybody decides; the rest stands behind "More options".
    basics: tuple[str, ...] = ()

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults: as typed, or as the form begins. Only for a valid or an unbound form."""
        given = self.cleaned_data if self.is_bound else self.initial
        typed = {name: given.get(name) for name in self.defaults}
        return {
            name: value for name, value in typed.items() if value not in (None, "") and value != self.defaults[name]
        }

    def basic(self) -> list[forms.BoundField]:
        return [self[name] for name in self.basics]

    def advanced(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in self.basics]

    def numbers(self) -> list[forms.BoundField]:
        """Those with limits that people can leave while they type."""
        return [self[name] for name, field in self.fields.items() if isinstance(field, forms.IntegerField)]

    def has_advanced(self) -> bool:
        """Whether something behind "More options" differs from its default, or is wrong."""
        if self.is_bound and self.errors:
            return True
        return any(name not in self.basics for name in self.chosen())


def options_form(options: type[BaseModel]) -> type[OptionsForm]:
    """A form with one field per option: kind, limits, default and help come from the pydantic model."""
    fields = {name: _field(name, info) for name, info in options.model_fields.items()}
    defaults = {
        name: _plain(info.get_default(call_default_factory=True)) for name, info in options.model_fields.items()
    }
    basics = options.basic if issubclass(options, EngineOptions) else ()
    parts = {**fields, "defaults": defaults, "basics": basics}
    return cast(type[OptionsForm], type("EngineOptionsForm", (OptionsForm,), parts))


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
        least, most = limits.get("ge"), limits.get("le")
        words = _range(least, most)
        common["error_messages"] = dict.fromkeys(("min_value", "max_value", "invalid"), words)
        field = number(min_value=least, max_value=most, **common)
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


def _range(least: float | None, most: float | None) -> str:
    """What a number may be, in words."""
    if least is not None and most is not None:
        return f"A number from {least:,} to {most:,}."
    if least is None and most is None:
        return "A number."
    return f"A number of at least {least:,}." if most is None else f"A number of at most {most:,}."


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value
