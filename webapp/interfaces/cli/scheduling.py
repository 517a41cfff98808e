"""Schedules in the file of `modelyard apply`: names become ids, and back again for `export`."""

from typing import Any

from webapp.interfaces.cli import lookup, plan
from webapp.interfaces.cli.errors import Usage
from webapp.interfaces.cli.manifest import Declared
from webapp.interfaces.cli.plan import Step, Want
from webapp.interfaces.cli.session import Session

PATH = "/schedules"
# What stands in the file under a name and is sent as an id: key in the file, key sent, list it is found in.
NAMED = (
    ("model", "artifact", "/artifacts"), ("hub", "hub", "/hubs"), ("host", "host", "/hosts"),
    ("deployment", "deployment", "/deployments"), ("prompts", "prompts", "/golden-prompts"),
)  # fmt: skip
_KEPT = (
    "repo", "revision", "variant", "host", "recipes", "trigger", "cron", "interval_minutes", "zone",
    "window_start", "window_end", "idle_minutes", "measure", "gate", "allow_downtime", "keep_last",
)  # fmt: skip


def steps(session: Session, declared: list[Declared], source: str, prune: bool) -> list[Step]:
    """What has to be done for the declared schedules. A file without schedules leaves all as they are."""
    if not declared:
        return []
    if session.description.find("POST", PATH) is None:
        raise Usage(f"{source}:{declared[0].line}: this Modelyard has no schedules.")
    teams = [team["slug"] for team in session.api.get("/me")["teams"]]
    complaints: list[str] = []
    wants = [_want(session, one, source, teams, complaints) for one in declared]
    if complaints:
        raise Usage("\n".join(complaints))
    return plan.make(wants, session.everything(PATH), prune)


def declared(session: Session, team: str) -> list[dict[str, Any]]:
    """The present schedules as the file has them."""
    if session.description.find("GET", PATH) is None:
        return []
    artifacts = {one["id"]: one for one in session.everything("/artifacts")}
    return [_declared(session, one, artifacts) for one in session.everything(PATH) if team in ("", one["team"])]


def _want(session: Session, one: Declared, source: str, teams: list[str], complaints: list[str]) -> Want:
    fields = {name: value for name, value in one.values.items() if name not in [key for key, _sent, _path in NAMED]}
    for name, key, path in NAMED:
        if name not in one.values:
            continue
        value = one.values[name]
        try:
            fields[key] = None if value is None else int(session.identity(str(value), path))
        except Usage as error:
            complaints.append(f"{source}:{one.lines[name]}: {error}")
    if "trigger" not in fields and "interval_minutes" in fields:
        fields["trigger"] = "interval"
    fields["recipes"] = [{"method": "gguf", "options": {}, **recipe} for recipe in fields["recipes"]]
    shown = {name: f"{fields[name]}:00" for name in ("window_start", "window_end") if fields.get(name)}
    if "host" in fields:
        names = {host["id"]: host["name"] for host in session.everything("/hosts")}
        shown["host"] = str(names.get(fields["host"]))
    if not one.team and len(teams) != 1:
        complaints.append(f"{source}:{one.line}: {one.name}: write its team (yours: {', '.join(teams) or 'none'})")
    return Want(one.team or (teams or [""])[0], one.name, fields, "", shown, "schedule")


def _declared(session: Session, one: dict[str, Any], artifacts: dict[int, Any]) -> dict[str, Any]:
    artifact = artifacts.get(one["artifact_id"] or 0)
    label: Any = None
    if artifact is not None:
        label = f"{artifact.get('model')}/{artifact.get('quantisation')}"
        if sum(label in lookup.names_of(other) for other in artifacts.values()) != 1:
            label = one["artifact_id"]
    found = {
        "team": one["team"],
        "name": one["name"],
        "model": label,
        "hub": one["hub_id"],
        "prompts": one["prompts_id"],
    }
    found |= {name: one[name] for name in _KEPT} | {"deployment": one["deployment"]}
    for name in ("window_start", "window_end"):
        found[name] = found[name][:5] if found[name] else None
    # Without measuring is a choice of its own; everything else that is empty is left out.
    return {name: value for name, value in found.items() if name == "measure" or value not in (None, "", 0, False, {})}
