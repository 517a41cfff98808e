"""What has to be done so that what is becomes what was declared. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["create", "update", "delete", "unchanged"]
SIGNS: dict[Action, str] = {"create": "+", "update": "~", "delete": "-", "unchanged": "="}


@dataclass(frozen=True)
class Want:
    """A declared deployment or schedule in the API's own words, ids for names. `fields`: what was declared."""

    team: str
    name: str
    fields: dict[str, Any]
    desired: Literal["running", "stopped", ""] = ""
    # What answers call a field by, where that is not what requests send: a host's name.
    shown: dict[str, Any] = field(default_factory=dict)
    kind: Literal["deployment", "schedule"] = "deployment"


@dataclass(frozen=True)
class Step:
    """One thing's way from what it is to what it should be. `changes` are (old, new) per field."""

    action: Action
    team: str
    name: str
    id: int | None = None
    body: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    # What to request after the rest.
    then: Literal["start", "stop", ""] = ""
    kind: Literal["deployment", "schedule"] = "deployment"

    @property
    def is_change(self) -> bool:
        return self.action != "unchanged"

    def as_json(self) -> dict[str, Any]:
        changes = {name: {"old": old, "new": new} for name, (old, new) in self.changes.items()}
        found = {"action": self.action, "team": self.team, "name": self.name, "changes": changes}
        return found if self.kind == "deployment" else {**found, "kind": self.kind}


# What a thing is called in the API's answers, by what it is called in requests.
ANSWERED = {
    "deployment": {"artifact": "artifact_id", "replicas": "desired_replicas"},
    "schedule": {"artifact": "artifact_id", "hub": "hub_id", "deployment": "deployment_id", "prompts": "prompts_id"},
}


def make(wants: Iterable[Want], present: Iterable[Mapping[str, Any]], prune: bool = False) -> list[Step]:
    """One step per declared deployment, in the file's order; with `prune` also for what the file's teams have besides.

    What the API does not tell of a deployment is sent only together with another change.
    """
    wants = list(wants)
    there = {(one["team"], one["name"]): one for one in present}
    steps = [_step(want, there.get((want.team, want.name))) for want in wants]
    if prune:
        kept = {(want.team, want.name) for want in wants}
        teams = {want.team for want in wants}
        steps += [
            Step("delete", team, name, id=one["id"], kind=wants[0].kind)
            for (team, name), one in sorted(there.items())
            if team in teams and (team, name) not in kept and one.get("desired_state") != "deleted"
        ]
    return steps


def _step(want: Want, there: Mapping[str, Any] | None) -> Step:
    if there is None:
        body = {"name": want.name, "team": want.team, **want.fields}
        changes = {name: (None, want.shown.get(name, value)) for name, value in want.fields.items()}
        stop: Literal["stop", ""] = "stop" if want.desired == "stopped" else ""
        return Step("create", want.team, want.name, None, body, changes, stop, want.kind)
    changes = {}
    for name, sent in want.fields.items():
        key, new = ANSWERED[want.kind].get(name, name), want.shown.get(name, sent)
        if key in there and not _same(name, there[key], new):
            changes[name] = (there[key], new)
    body = {name: want.fields[name] for name in changes}
    then: Literal["start", "stop", ""] = ""
    if want.desired and want.desired != there["desired_state"]:
        changes["desired"] = (there["desired_state"], want.desired)
        then = "stop" if want.desired == "stopped" else "start"
    action: Action = "update" if changes else "unchanged"
    return Step(action, want.team, want.name, there["id"], body, changes, then, want.kind)


def _same(name: str, old: Any, new: Any) -> bool:
    if name == "measure" and isinstance(old, dict) and isinstance(new, dict):
        # The answer has the defaults of what was not written.
        return all(old.get(inner) == value for inner, value in new.items())
    # Recipes are in order of preference; of everything else the order means nothing, nor what is written twice.
    if name != "recipes" and isinstance(old, list) and isinstance(new, list):
        return set(map(str, old)) == set(map(str, new))
    return bool(old == new)


def told(step: Step) -> str:
    """The step in a line: `~ research/chat  replicas: 1 -> 2`."""
    what = "" if step.kind == "deployment" else f"{step.kind} "
    name = f"{SIGNS[step.action]} {what}{step.team}/{step.name}"
    parts = []
    for key, (old, new) in step.changes.items():
        if isinstance(old, dict) and isinstance(new, dict):
            parts += [
                f"{key}.{inner}: {_word(old.get(inner))} -> {_word(new.get(inner))}"
                for inner in sorted({*old, *new})
                if old.get(inner) != new.get(inner)
            ]
        elif step.action == "create":
            parts.append(f"{key}: {_word(new)}")
        else:
            parts.append(f"{key}: {_word(old)} -> {_word(new)}")
    return f"{name}  {step.action}" + (f"  {'; '.join(parts)}" if parts else "")


def _word(value: Any) -> str:
    return "-" if value is None else str(value)
