"""What Modelyard would refuse of an `apply`: it is asked about every change, and nothing is changed."""

from collections import defaultdict
from typing import Any

from webapp.interfaces.cli.errors import Problem
from webapp.interfaces.cli.plan import Step
from webapp.interfaces.cli.session import Session


def refusals(session: Session, changes: list[Step], allow_downtime: bool) -> list[Problem | None]:
    """For each change the refusal that it would meet after those before it; None where it would be carried out."""
    names = _Names()
    return [_refusal(session, step, names, {"allow_downtime": True} if allow_downtime else {}) for step in changes]


class _Names:
    """Which names of a team the changes so far give up and take: the next one may have the former, not the latter."""

    def __init__(self) -> None:
        self.freed: dict[str, set[str]] = defaultdict(set)
        self.taken: dict[str, set[str]] = defaultdict(set)

    def clash(self, step: Step) -> str:
        """A name that an earlier change takes; empty when there is none."""
        wanted = {*step.body.get("aliases", ()), *([step.name] if step.action == "create" else [])}
        return min(wanted & self.taken[step.team], default="")

    def after(self, step: Step) -> None:
        old, new = step.changes.get("aliases", (None, None))
        if old is not None or new is not None:
            self.freed[step.team] |= set(old or ()) - set(new or ())
            self.taken[step.team] |= set(new or ()) - set(old or ())
        if step.action == "create":
            self.taken[step.team].add(step.name)


def _refusal(session: Session, step: Step, names: _Names, more: dict[str, Any]) -> Problem | None:
    where = f"{step.team}/{step.name}"
    if step.kind == "deployment" and (name := names.clash(step)):
        return Problem(409, f"{where}: The team uses {name} already.", "Choose other aliases.")
    try:
        said = _ask(session, step, names.freed[step.team], more)
    except Problem as error:
        return Problem(error.status, f"{where}: {error.title}", error.detail, error.request_id)
    names.after(step)
    return Problem(409, f"{where}: {said}") if said else None


def _ask(session: Session, step: Step, freed: set[str], more: dict[str, Any]) -> str:
    """Raises Problem, or answers with the conflict that the change would meet."""
    dry, path = {"dry_run": "true"}, f"/{step.kind}s"
    if step.action == "delete" or not step.body:
        # Starting and stopping are refused to those who may not delete, and to nobody else.
        session.api.call("DELETE", f"{path}/{step.id}", dry)
        return ""
    body = dict(step.body)
    if "aliases" in body:
        body["aliases"] = [name for name in body["aliases"] if name not in freed]
    if step.kind == "schedule":
        verb, where = ("PATCH", f"{path}/{step.id}") if step.id else ("POST", f"{path}/check")
        session.api.call(verb, where, dry if step.id else None, body)
    else:
        verb, where, more = ("PATCH", f"{path}/{step.id}", more) if step.id else ("POST", path, {})
        plan = session.api.call(verb, where, dry, body | more).json
        fit = plan.get("fit") or {}
        for said in (fit.get("advice"), *(warning["text"] for warning in fit.get("warnings", ()))):
            if said:
                session.say(f"{step.team}/{step.name}: {said}")
        return str(plan.get("refused") or "")
    return ""
