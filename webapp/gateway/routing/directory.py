"""The current snapshot, arranged for the questions of a request: who asks, which deployment, which replicas."""

import logging
from collections.abc import Iterable

from webapp.gateway.http.errors import Problem, retry_after
from webapp.gateway.routing.credentials import Principal
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.replicas import Replica, Replicas
from webapp.gateway.routing.snapshot import DeploymentEntry, KeyEntry, Principals, Routes

log = logging.getLogger(__name__)

_LISTED_NAMES = 20
_AVOIDED = 1 << 40  # more requests than anybody has in flight


class Deployment:
    """One deployment with the replicas that may take a request now."""

    __slots__ = ("endpoints", "entry", "id", "label", "name", "ready", "team_slug", "upstream_model")

    def __init__(self, entry: DeploymentEntry, team_slug: str, ready: list[Replica]) -> None:
        self.entry = entry
        self.id = entry.id
        self.name = entry.name
        self.team_slug = team_slug
        self.label = f"{team_slug}/{entry.name}"
        self.upstream_model = entry.upstream_model
        self.endpoints = frozenset(entry.endpoints)
        self.ready = ready

    def is_for(self, team: int) -> bool:
        """Whether it is the team's own or granted to it."""
        return team == self.entry.team or team in self.entry.granted_teams

    def not_up(self) -> Problem:
        """503 with the word web knows it by."""
        word = "stopped" if self.entry.desired == "stopped" else self.entry.status or "not ready"
        advice = "start it in the dashboard" if word == "stopped" else "retry in a few seconds"
        message = f"The model '{self.name}' is not available ({word}): {advice}"
        return Problem(503, "model_unavailable", message, headers=retry_after(30 if word == "stopped" else 5))


class People:
    """Keys by digest and by id, and the people behind tokens."""

    def __init__(self, part: Principals) -> None:
        self.version = part.version
        self.keys = dict(_principals(part.keys))
        self.by_id = {principal.key: principal for principal in self.keys.values()}
        self.people = {person.id: person for person in part.people}


class Offers:
    """Deployments by id, by the names of their own team, and by those that they are granted under."""

    def __init__(self, part: Routes, replicas: Replicas | None = None) -> None:
        self.version = part.version
        self.team_ids = {team.slug: team.id for team in part.teams}
        slugs = {team.id: team.slug for team in part.teams}
        self.by_id: dict[int, Deployment] = {}
        self.own: dict[tuple[int, str], Deployment] = {}
        self.granted: dict[tuple[int, str], Deployment] = {}
        for entry in sorted(part.deployments, key=lambda entry: entry.id):
            ready = replicas.ready(entry) if replicas is not None else []
            self._add(Deployment(entry, slugs.get(entry.team, str(entry.team)), ready))

    def _add(self, deployment: Deployment) -> None:
        entry = deployment.entry
        self.by_id[entry.id] = deployment
        # A name wins over an alias, an older deployment over a newer one.
        self.own[entry.team, entry.name] = deployment
        for team in entry.granted_teams:
            self.granted.setdefault((team, entry.name), deployment)
        for alias in entry.aliases:
            self.own.setdefault((entry.team, alias), deployment)
            for team in entry.granted_teams:
                self.granted.setdefault((team, alias), deployment)


class Directory:
    """Who asks and what they may ask, together. Neither half changes once it is built: news make another directory, of
    which they have made one half anew."""

    def __init__(self, people: People, offers: Offers) -> None:
        self.is_known = people.version != "" and offers.version != ""
        self.people = people
        self.offers = offers
        self.keys = people.keys
        self._by_id = offers.by_id
        self._own = offers.own
        self._granted = offers.granted

    @property
    def version(self) -> str:
        """For logs: that of either half."""
        return f"{self.people.version}/{self.offers.version}"

    def key(self, number: int) -> Principal | None:
        """Whom a key speaks for now; None once it was revoked."""
        return self.people.by_id.get(number)

    def by_id(self, number: int) -> Deployment | None:
        return self._by_id.get(number)

    def is_paused(self, deployment: int, replica: int) -> bool:
        """Whether the replica's container was paused; one that is gone from the table has another end."""
        found = self._by_id.get(deployment)
        return found is not None and any(r.id == replica and r.state == "paused" for r in found.entry.replicas)

    def lets(self, user: int, deployment: int) -> bool:
        """Whether a person whose page got a token may use the deployment now. Somebody who is newer than this snapshot,
        and a deployment that is gone from it, are the token's own to judge."""
        person, found = self.people.people.get(user), self._by_id.get(deployment)
        if person is None or found is None:
            return True
        return person.is_admin or any(found.is_for(team) for team in person.teams)

    def by_model(self, principal: Principal, model: str) -> Deployment:
        """What `model` means to this principal: its own team's first, then what was granted. Raises Problem 404."""
        name = (principal.team, model)
        found = self._own.get(name) or self._granted.get(name)
        if found is None or not _may_use(principal, found):
            raise self._unknown(principal, model)
        return found

    def by_path(self, principal: Principal, team_slug: str, name: str) -> Deployment:
        """The deployment of /d/<team>/<deployment>/. What the principal may not use does not exist for it."""
        team = self.offers.team_ids.get(team_slug)
        found = None if team is None else self._own.get((team, name))
        if found is None or not found.is_for(principal.team) or not _may_use(principal, found):
            raise self._unknown(principal, f"{team_slug}/{name}")
        return found

    def usable(self, principal: Principal) -> dict[str, Deployment]:
        """Every model name the principal may send, with what it means; own names hide granted ones."""
        names: dict[str, Deployment] = {}
        for table in (self._granted, self._own):
            for (team, name), deployment in table.items():
                if team == principal.team and _may_use(principal, deployment):
                    names[name] = deployment
        return dict(sorted(names.items()))

    def _unknown(self, principal: Principal, model: str) -> Problem:
        names = list(self.usable(principal))
        listed = ", ".join(names[:_LISTED_NAMES]) + (", ..." if len(names) > _LISTED_NAMES else "")
        advice = f"this key may use: {listed}" if names else "this key may use no model yet"
        shown = model if len(model) <= 100 else model[:100] + "..."
        return Problem(404, "model_not_found", f"The model '{shown}' does not exist here; {advice}", param="model")


def choose(deployment: Deployment, table: LoadTable, tried: Iterable[int], now: float) -> Replica | None:
    """The ready replica with the fewest requests in flight. Ones that just refused a connection come last."""
    ready = deployment.ready
    if len(ready) == 1 and not tried:
        return ready[0]
    best: Replica | None = None
    least = 0
    for replica in ready:
        if tried and replica.id in tried:
            continue
        outstanding = table.outstanding(replica.cell)
        if replica.avoid_until > now:
            outstanding += _AVOIDED
        if best is None or outstanding < least:
            best, least = replica, outstanding
    return best


def _principals(entries: list[KeyEntry]) -> Iterable[tuple[bytes, Principal]]:
    for entry in entries:
        digest = _from_hex(entry.digest)
        if len(digest) != 32:
            log.warning("key %d is left out: its digest is not a SHA-256", entry.id)
            continue
        may_infer = "inference" in entry.scopes
        yield digest, Principal(entry.id, entry.user, entry.team, may_infer, entry.expires_at)


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _may_use(principal: Principal, deployment: Deployment) -> bool:
    return principal.deployments is None or deployment.id in principal.deployments
