"""The declared state in a YAML file: read with line numbers, checked, nothing guessed.

    deployments:
      - name: chat               # with the team, what it is known by
        team: research           # may be left out when you are in one team
        model: SmolLM2/Q8_0      # name/quantisation, or the artifact's id
        engine: llamacpp
        options: {context_length: 8192}
        replicas: 2
        host: gpu-1              # pins it; automatic when left out
        image: my/llama:1
        placement_labels: [gpu=a100]   # only on hosts that carry all of them
        aliases: [gpt-4o-mini]
        desired: running         # or stopped
    schedules:
      - name: nightly
        model: SmolLM2/F16       # the source; or hub, repo, revision and variant
        host: gpu-1
        recipes: [{method: gguf, options: {type: Q4_K_M}}]
        cron: "0 2 * * *"     # or interval_minutes, or trigger: new_commit
        zone: Europe/Berlin
        gate: {max_kl_divergence: 0.05}
        deployment: chat
        keep_last: 3

What is left out is left as it is, and made with the API's defaults when the deployment is new.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from webapp.interfaces.cli.description import Description, Field, Kind
from webapp.interfaces.cli.errors import Usage

MAX_CHARS = 1_000_000
# Aliases may repeat a node for ever: what is unfolded is counted.
MAX_NODES = 100_000
MAX_DEPTH = 50


@dataclass(frozen=True)
class Declared:
    """One deployment or schedule as the file has it. `values` holds what was written; `lines` where."""

    name: str
    team: str
    values: dict[str, Any]
    lines: dict[str, int] = field(compare=False)
    line: int = field(compare=False, default=0)
    kind: Literal["deployment", "schedule"] = "deployment"


def read(text: str, source: str, description: Description | None = None) -> list[Declared]:
    """The declared deployments and schedules. Raises Usage with a line of its own for everything that is wrong."""
    if len(text) > MAX_CHARS:
        raise Usage(f"{source} is too long: a million characters at most.")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise Usage(f"{where}: {getattr(error, 'problem', None) or error}") from None
    reader = _Reader(source, description or Description.read())
    found = reader.file(root)
    if reader.complaints:
        raise Usage("\n".join(reader.complaints))
    return found


class _Reader:
    def __init__(self, source: str, description: Description) -> None:
        self.source = source
        self.deployment_fields = deployment_fields(description)
        self.complaints: list[str] = []
        self.nodes = 0

    def complain(self, node: Any, text: str) -> None:
        self.complaints.append(f"{self.source}:{node.start_mark.line + 1}: {text}")

    def file(self, root: Any) -> list[Declared]:
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            self.complain(root, "the file begins with `deployments:`")
            return []
        found: list[Declared] = []
        for key, value in root.value:
            kind = KINDS.get(str(key.value))
            if kind is None:
                self.complain(key, f"{key.value!r} is not known here; there is: {', '.join(KINDS)}")
            elif isinstance(value, yaml.SequenceNode):
                found += [one for node in value.value if (one := self.one(node, kind)) is not None]
            elif value.value:
                self.complain(value, f"{key.value}: a list is needed (lines that begin with `- name:`)")
        seen: dict[tuple[str, str, str], int] = {}
        for one in found:
            first = seen.setdefault((one.kind, one.team, one.name), one.line)
            if first != one.line:
                self.complaints.append(f"{self.source}:{one.line}: {one.name} stands on line {first} already")
        return found

    def one(self, node: Any, kind: Literal["deployment", "schedule"]) -> Declared | None:
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, f"a {kind} is a group of `key: value` lines")
            return None
        known, needed = self.deployment_fields, DEPLOYMENT_NEEDS
        if kind == "schedule":
            known, needed = SCHEDULE_FIELDS, SCHEDULE_NEEDS
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, inner in node.value:
            name = str(key.value)
            if name not in known:
                self.complain(key, f"{name!r} is not known; there is: {', '.join(known)}")
            elif name in values:
                self.complain(key, f"{name} stands here twice")
            else:
                values[name] = self.value(inner)
                lines[name] = key.start_mark.line + 1
                is_right, what = known[name]
                if not is_right(values[name]):
                    self.complain(inner, f"{name}: {what} is needed")
        for name in needed:
            if name not in values:
                self.complain(node, f"{name} is missing")
        line = node.start_mark.line + 1
        return Declared(str(values.pop("name", "")), str(values.pop("team", "")), values, lines, line, kind)

    def value(self, node: Any, depth: int = 0) -> Any:
        """A plain value of what stands there; text, numbers, yes and no as YAML reads them, dates as text."""
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise Usage(f"{self.source} unfolds to too much: {MAX_NODES} values, {MAX_DEPTH} deep at most.")
        if isinstance(node, yaml.MappingNode):
            return {str(self.value(key, depth + 1)): self.value(inner, depth + 1) for key, inner in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(inner, depth + 1) for inner in node.value]
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.complain(node, f"{node.value!r} cannot be read: {error}")
            return None
        return value if value is None or isinstance(value, str | bool | int | float) else node.value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 64


def _is_reference(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, int) and not isinstance(value, bool))


Check = tuple[Callable[[Any], bool], str]
_GROUP: Check = (lambda value: isinstance(value, dict), "a group of `key: value`")
# What the file says in words of its own, before and behind what it says as the API does.
_FIRST: dict[str, Check] = {
    "name": (_is_text, "a text"),
    "team": (_is_text, "a team's slug"),
    "model": (_is_reference, "name/quantisation of an artifact, or its id,"),
}
_OWN: dict[str, Check] = {
    "replicas": (_is_count, "a whole number from 0 to 64"),
    "host": (lambda value: value is None or _is_reference(value), "the name of a host, or null,"),
    "desired": (lambda value: value in ("running", "stopped"), "running or stopped"),
}
_OF_KIND: dict[Kind, Check] = {
    "str": (lambda value: isinstance(value, str), "a text"),
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "float": (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "list": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of names"),
    "json": _GROUP,
}


def told(description: Description) -> list[Field]:
    """What the API lets people say of a new deployment, but for what the file calls by other names."""
    operation = description.find("POST", "/deployments")
    fields = operation.fields if operation else ()
    return [one for one in fields if one.place == "body" and one.name not in ("name", "team", "artifact")]


def deployment_fields(description: Description) -> dict[str, Check]:
    """Everything that a deployment in the file may have."""
    return {**_FIRST, **{one.name: _OF_KIND[one.kind] for one in told(description)}, **_OWN}


_TIME = (
    lambda value: value is None or bool(isinstance(value, str) and re.fullmatch(r"[0-2]\d:[0-5]\d", value)),
    'a time in quotes, like "22:00",',
)
_NUMBER = (lambda value: value is None or (_is_reference(value) and isinstance(value, int)), "a whole number")
_REFERENCE = (lambda value: value is None or _is_reference(value), "a name, or null,")
KINDS: dict[str, Literal["deployment", "schedule"]] = {"deployments": "deployment", "schedules": "schedule"}
DEPLOYMENT_NEEDS: tuple[str, ...] = ("name", "model")
SCHEDULE_NEEDS: tuple[str, ...] = ("name", "host", "recipes")
SCHEDULE_FIELDS: dict[str, Check] = {
    "name": (_is_text, "a text"),
    "team": (_is_text, "a team's slug"),
    "model": _REFERENCE,
    "hub": _REFERENCE,
    "repo": (lambda value: isinstance(value, str), "owner/name"),
    "revision": (lambda value: isinstance(value, str), "a text"),
    "variant": (lambda value: isinstance(value, str), "a text"),
    "host": (_is_reference, "the name of a host"),
    "recipes": (
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value),
        "a list of `{method: ..., options: {...}}`",
    ),
    "trigger": (lambda value: value in ("cron", "interval", "new_commit"), "cron, interval or new_commit"),
    "cron": (lambda value: isinstance(value, str), "a line in quotes"),
    "interval_minutes": _NUMBER,
    "zone": (_is_text, "a time zone like Europe/Berlin"),
    "window_start": _TIME,
    "window_end": _TIME,
    "idle_minutes": _NUMBER,
    "measure": (lambda value: value is None or isinstance(value, dict), "a group of `key: value`, or null,"),
    "gate": _GROUP,
    "prompts": _REFERENCE,
    "deployment": _REFERENCE,
    "allow_downtime": (lambda value: isinstance(value, bool), "true or false"),
    "keep_last": _NUMBER,
}
