"""The names under which a team's deployments answer: each belongs to one deployment, as its name or as an alias."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError

from webapp.accounts.auditing import actor_name
from webapp.accounts.models import Team, User
from webapp.accounts.services import audit
from webapp.deployments.models import ALIAS, Deployment, DeploymentAlias, ReplicaEvent
from webapp.foundation.errors import Conflict, Invalid

MAX_ALIASES = 16


def hold(team: Team) -> None:
    """Until the transaction ends nobody else gives out names in this team; no constraint spans two tables."""
    Team.objects.select_for_update().get(pk=team.pk)


def check_free(team: Team, name: str) -> None:
    """Raise Conflict when the name is another deployment's alias."""
    alias = DeploymentAlias.objects.filter(team=team, name=name).select_related("deployment").first()
    if alias is not None:
        message = f"{name} is an alias of {alias.deployment.name}."
        raise Conflict(message, "Choose another name, or remove the alias first.", fields={"name": message})


def write(deployment: Deployment, aliases: Iterable[str]) -> list[str]:
    """Make these the deployment's aliases, exactly. Inside a transaction that holds the team. Returns them sorted."""
    wanted = sorted(set(aliases))
    _check(deployment, wanted)
    deployment.alias_set.exclude(name__in=wanted).delete()
    there = set(deployment.alias_set.values_list("name", flat=True))
    DeploymentAlias.objects.bulk_create(
        DeploymentAlias(deployment=deployment, team=deployment.team, name=name) for name in wanted if name not in there
    )
    return wanted


def replace(user: User | None, deployment: Deployment, aliases: Iterable[str]) -> None:
    """Answer under these names too, from now on. No replica is touched."""
    hold(deployment.team)
    before = deployment.aliases
    wanted = write(deployment, aliases)
    who = actor_name(user)
    said = f"set the aliases {', '.join(wanted)}" if wanted else "removed all aliases"
    ReplicaEvent.objects.create(deployment=deployment, text=said[:500], actor=who)
    audit(user, deployment.team, "deployment.aliases", deployment.name, {"from": before, "to": wanted})


def _check(deployment: Deployment, wanted: list[str]) -> None:
    if len(wanted) > MAX_ALIASES:
        raise _invalid(f"At most {MAX_ALIASES} aliases, not {len(wanted)}.")
    for name in wanted:
        try:
            ALIAS(name)
        except ValidationError as error:
            raise _invalid(f"{name[:80]!r} cannot be an alias. {' '.join(error.messages)}") from error
    if deployment.name in wanted:
        raise _invalid(f"{deployment.name} is its name already.")
    taken = [
        *Deployment.objects.filter(team=deployment.team, name__in=wanted).values_list("name", flat=True),
        *DeploymentAlias.objects.filter(team=deployment.team, name__in=wanted)
        .exclude(deployment=deployment)
        .values_list("name", flat=True),
    ]
    if taken:
        message = f"The team uses {', '.join(sorted(taken))} already."
        raise Conflict(message, "Choose other aliases.", fields={"aliases": message})


def _invalid(message: str) -> Invalid:
    return Invalid(message, fields={"aliases": message})
