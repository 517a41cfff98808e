"""What a deployment is to run, in one place: the fields, how a row keeps them, and how two of them differ.

`RevisionSpec` holds everything that needs new containers when it changes; a revision is that with a number. It is a
value, because forms, the API and plans have one before there is any row; `SpecColumns` are the columns that a row keeps
it in. `artifact` and `host` stand in each model itself: a deployment protects what it refers to, a revision outlives
it. Everything else (forms, diff, history, dry run, roll back) goes over `FIELDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from django.db import models

from webapp import engines
from webapp.catalog.models import Artifact
from webapp.inventory.models import Host


def _title(engine: str) -> str:
    return engines.get(engine).title if engine in engines.names() else engine


def _shows(label: str, shown: Callable[[Any], str] = str) -> dict[str, Any]:
    """How a diff tells people of the field."""
    return {"label": label, "shown": shown}


@dataclass(frozen=True, kw_only=True)
class RevisionSpec:
    """Everything that needs new containers when it changes."""

    artifact: Artifact = field(metadata=_shows("Model"))
    # Empty: the one that loads the artifact's files.
    engine: str = field(default="", metadata=_shows("Engine", _title))
    image: str = field(default="", metadata=_shows("Image", lambda image: image or "engine default"))
    host: Host | None = field(default=None, metadata=_shows("Host", lambda host: str(host or "any host")))
    # Only on hosts that carry all of them; empty: anywhere.
    placement_labels: tuple[str, ...] = field(
        default=(), metadata=_shows("Placement labels", lambda labels: ", ".join(labels) or "any host")
    )
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def has_own_image(self) -> bool:
        """What that can run is its maker's to know."""
        return bool(self.image)

    def columns(self) -> dict[str, Any]:
        """The values of a row that keeps it."""
        return {name: _stored(getattr(self, name)) for name in FIELDS}


FIELDS = tuple(one.name for one in fields(RevisionSpec))


@dataclass(frozen=True)
class DeploymentSpec(RevisionSpec):
    """What a person asks for: what is to run, under which names, how often."""

    name: str
    replicas: int = 1
    aliases: tuple[str, ...] = ()
    # Tokens of an answer where a request does not say, and at most; 0: the engine's own.
    max_tokens_default: int = 0
    max_tokens_limit: int = 0

    @property
    def limits(self) -> dict[str, int]:
        """What the gateways hold requests against."""
        return {"max_tokens_default": self.max_tokens_default, "max_tokens_limit": self.max_tokens_limit}


@dataclass(frozen=True)
class DeploymentPatch:
    """What a person changes. `spec` holds only the fields that were given; None leaves the rest as it is."""

    spec: dict[str, Any] = field(default_factory=dict)
    replicas: int | None = None
    aliases: tuple[str, ...] | None = None
    note: str = ""
    allow_downtime: bool = False
    # The number of the revision that the person looked at; None takes whatever is there.
    base: int | None = None
    max_tokens_default: int | None = None
    max_tokens_limit: int | None = None

    @property
    def limits(self) -> dict[str, int | None]:
        """What the gateways are to hold requests against; None leaves a number as it is."""
        return {"max_tokens_default": self.max_tokens_default, "max_tokens_limit": self.max_tokens_limit}


class SpecColumns(models.Model):
    """The columns of a RevisionSpec, beside `artifact` and `host`."""

    engine = models.CharField(max_length=20)
    options = models.JSONField(default=dict)
    image = models.CharField(max_length=200, blank=True)
    placement_labels = models.JSONField(default=list, blank=True)

    class Meta:
        abstract = True

    @property
    def spec(self) -> RevisionSpec:
        """What the row says is to run. Raises ValueError when its files have been deleted since."""
        values = {name: _value(getattr(self, name)) for name in FIELDS}
        if values["artifact"] is None:
            raise ValueError("The files have been deleted.")
        return RevisionSpec(**values)


def _stored(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(stored: Any) -> Any:
    """As a value that nobody changes under the row."""
    return tuple(stored) if isinstance(stored, list) else dict(stored) if isinstance(stored, dict) else stored


@dataclass(frozen=True)
class Change:
    """One field of a diff, in words for people."""

    name: str
    label: str
    old: str
    new: str


def diff(old: RevisionSpec, new: RevisionSpec) -> list[Change]:
    """What differs, field by field; empty when nothing that runs would change."""
    changes = []
    for one in fields(RevisionSpec):
        before, after = getattr(old, one.name), getattr(new, one.name)
        if one.metadata and before != after:
            shown = one.metadata["shown"]
            changes.append(Change(one.name, one.metadata["label"], shown(before), shown(after)))
    return changes + _options(old, new)


def _options(old: RevisionSpec, new: RevisionSpec) -> list[Change]:
    before, after = _with_defaults(old), _with_defaults(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [
        Change(f"options.{name}", _label(new.engine, name), _shown(before.get(name)), _shown(after.get(name)))
        for name in names
    ]


def _with_defaults(spec: RevisionSpec) -> dict[str, Any]:
    if spec.engine not in engines.names():
        return spec.options
    known = engines.get(spec.engine).Options
    defaults = {
        name: info.get_default(call_default_factory=True)
        for name, info in known.model_fields.items()
        if not info.is_required()
    }
    return {**defaults, **spec.options}


def _label(engine: str, name: str) -> str:
    info = engines.get(engine).Options.model_fields.get(name) if engine in engines.names() else None
    return (info.title if info else None) or name


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "automatic"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
