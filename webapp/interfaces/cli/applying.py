"""`modelyard apply` and `modelyard export`: deployments as a file says, by the same calls that anybody may make."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from webapp.interfaces.cli import dry_runs, lookup, plan, show
from webapp.interfaces.cli.errors import DIFFERENT, Problem, Usage
from webapp.interfaces.cli.plan import Step, Want
from webapp.interfaces.cli.session import Session, print_json
from webapp.interfaces.cli.tree import JsonFlag

if TYPE_CHECKING:
    from webapp.interfaces.cli.manifest import Declared

PATH = "/deployments"
ONE = "/deployments/{deployment_id}"


def apply(
    context: typer.Context,
    file: Annotated[str, typer.Option("--file", "-f", help='YAML file; "-" reads stdin.')],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed or refused.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete resources of the file's teams that are not in the "
                                        "file.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    allow_downtime: Annotated[bool, typer.Option("--allow-downtime", help="Allow downtime where old and new do not fit "
                                            "side by side.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="With --dry-run: exit with 3 if there are changes.")]
    = False,
    json_: JsonFlag = False,
) -> None:  # fmt: skip
    """Apply a declarative YAML file to deployments and schedules. Applying it again changes nothing."""
    from webapp.interfaces.cli import manifest, scheduling  # YAML takes a while, and only this command needs it

    session: Session = context.obj
    session.is_json |= json_
    source = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read: {error}") from None
    declared = manifest.read(text, source, session.description)
    wants = _wants(session, [one for one in declared if one.kind == "deployment"], source)
    steps = plan.make(wants, _own(session), prune)
    _check(session, steps)
    steps += scheduling.steps(session, [one for one in declared if one.kind == "schedule"], source, prune)
    changes = [step for step in steps if step.is_change]
    allow_downtime = allow_downtime and session.description.takes("PATCH", ONE, "allow_downtime")
    if not session.is_json:
        _show(session, steps)
    refused = [one for one in dry_runs.refusals(session, changes, allow_downtime) if one is not None] if dry_run else []
    if not dry_run and changes:
        _confirm(changes, yes)
        _carry_out(session, changes, allow_downtime)
    if session.is_json:
        print_json({"steps": [step.as_json() for step in steps], "applied": not dry_run})
    if refused:
        raise Problem(refused[0].status, "\n".join(map(str, refused)))
    if dry_run and exit_code and changes:
        raise typer.Exit(DIFFERENT)


def export(
    context: typer.Context,
    team: Annotated[str, typer.Option(help="Only this team's; default: all that you can see.")] = "",
) -> None:
    """Print the current deployments and schedules as a YAML file for `modelyard apply`."""
    import yaml

    from webapp.interfaces.cli import manifest, scheduling

    session: Session = context.obj
    names = [one.name for one in manifest.told(session.description)]
    artifacts = {one["id"]: one for one in session.everything("/artifacts")}
    rows = [
        _declared(one, artifacts, names)
        for one in _own(session)
        if one["desired_state"] != "deleted" and team in ("", one["team"])
    ]
    print(f"# Exported from {session.api.url}. Apply with: modelyard apply -f FILE")
    found = {"deployments": rows}
    if schedules := scheduling.declared(session, team):
        found["schedules"] = schedules
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True)
    if text != show.lines(text):  # hidden characters are written as their numbers, so that the file says the same
        text = yaml.safe_dump(found, sort_keys=False)
    print(text, end="")


def _own(session: Session) -> list[dict[str, Any]]:
    """Without those that another team only lets mine use."""
    return [one for one in session.everything(PATH) if one.get("is_own", True)]


def _declared(one: dict[str, Any], artifacts: dict[int, Any], names: list[str]) -> dict[str, Any]:
    artifact = artifacts.get(one["artifact_id"], {})
    label = f"{artifact.get('model')}/{artifact.get('quantisation')}"
    is_unique = sum(label in lookup.names_of(other) for other in artifacts.values()) == 1
    found = {
        "team": one["team"],
        "name": one["name"],
        "model": label if is_unique else one["artifact_id"],
        **{name: one.get(plan.ANSWERED["deployment"].get(name, name)) for name in names},
        "desired": "stopped" if one["desired_state"] == "stopped" else None,
    }
    return {name: value for name, value in found.items() if value not in (None, {}, "", [])}


def _wants(session: Session, declared: list["Declared"], source: str) -> list[Want]:
    """The file's deployments in the API's words. Raises Usage with the line of each name that is none."""
    teams = [team["slug"] for team in session.api.get("/me")["teams"]]
    wants, complaints = [], []
    for one in declared:
        fields = {name: value for name, value in one.values.items() if name not in ("model", "host", "desired")}
        for name, key, path in (("model", "artifact", "/artifacts"), ("host", "host", "/hosts")):
            if one.values.get(name) is None:
                if name in one.values:
                    fields[key] = None
                continue
            try:
                fields[key] = int(session.identity(str(one.values[name]), path))
            except Usage as error:
                complaints.append(f"{source}:{one.lines[name]}: {error}")
        if not one.team and len(teams) != 1:
            known = ", ".join(teams) or "none"
            complaints.append(f"{source}:{one.line}: {one.name}: write its team (yours: {known})")
        shown = {}
        if "host" in fields:
            names = {host["id"]: host["name"] for host in session.everything("/hosts")}
            shown["host"] = names.get(fields["host"])
        wants.append(Want(one.team or (teams or [""])[0], one.name, fields, one.values.get("desired", ""), shown))
    if complaints:
        raise Usage("\n".join(complaints))
    return wants


def _check(session: Session, steps: list[Step]) -> None:
    """Refuse before the first change what this Modelyard cannot do."""
    being_deleted = {one["id"]: one["name"] for one in _own(session) if one["desired_state"] == "deleted"}
    for step in steps:
        if step.action != "delete" and step.id in being_deleted:
            raise Problem(409, f"{step.team}/{step.name} is being deleted.", "Apply again when it is gone.")
        method, path = ("POST", PATH) if step.action == "create" else ("PATCH", ONE)
        unknown = [name for name in step.body if not session.description.takes(method, path, name)]
        if not unknown:
            continue
        if session.description.find(method, path) is None:
            what = f"{step.team}/{step.name}: this Modelyard cannot change a deployment in place ({', '.join(unknown)})"
            raise Usage(f"{what}; delete it first: modelyard deployments delete {step.team}/{step.name}")
        raise Usage(f"{step.team}/{step.name}: this Modelyard does not know {', '.join(unknown)}.")


def _show(session: Session, steps: list[Step]) -> None:
    for step in steps:
        print(show.plain(plan.told(step)))
    counts = {action: sum(step.action == action for step in steps) for action in plan.SIGNS}
    session.say(", ".join(f"{number} {action}" for action, number in counts.items() if number) or "Nothing declared.")


def _confirm(changes: list[Step], yes: bool) -> None:
    doomed = [step for step in changes if step.action == "delete"]
    if not doomed or yes:
        return
    if not sys.stdin.isatty():
        raise Usage(f"--prune would delete {len(doomed)} deployments; add --yes when nobody can be asked.")
    typer.confirm(f"Delete {', '.join(f'{step.team}/{step.name}' for step in doomed)}?", abort=True)


def _carry_out(session: Session, changes: list[Step], allow_downtime: bool) -> None:
    for number, step in enumerate(changes):
        try:
            _one(session, step, {"allow_downtime": True} if allow_downtime else {})
        except Problem as error:
            where = f"{step.team}/{step.name}: {error.title}"
            done = f"{number} of {len(changes)} changes were made; apply again for the rest."
            raise Problem(error.status, where, f"{error.detail}\n{done}".strip(), error.request_id) from None
    session.say(f"{len(changes)} {'change' if len(changes) == 1 else 'changes'} asked for; watch: modelyard status")


def _one(session: Session, step: Step, more: dict[str, Any]) -> None:
    identity = step.id
    path = PATH if step.kind == "deployment" else "/schedules"
    if step.action == "create":
        identity = session.api.call("POST", path, body=step.body).json["id"]
    elif step.action == "delete":
        session.api.call("DELETE", f"{path}/{identity}")
    elif step.body:
        session.api.call("PATCH", f"{path}/{identity}", body=step.body | (more if path == PATH else {}))
    if step.then:
        session.api.call("POST", f"{path}/{identity}/{step.then}")
