"""Whose something is, and who else may use it: one function per verb for everything that a team owns."""

from typing import Any

from django.db import IntegrityError, transaction

from webapp.accounts.auditing import actor_name, audit
from webapp.accounts.models import Role, Team, User
from webapp.accounts.owned import Grant
from webapp.accounts.roles import require, require_installation_admin
from webapp.foundation.errors import Conflict, Invalid
from webapp.foundation.events import services as events


def require_owner(user: User | None, item: Any) -> None:
    """Raise NotAllowed unless the person may change it: an operator of its team, or an administrator."""
    if item.team is None:
        require_installation_admin(user)
    else:
        require(user, item.team, Role.OPERATOR)


def check_usable(item: Any, team: Team, field: str = "") -> None:
    """Raise Conflict unless the team may use it at this moment."""
    if not type(item).objects.open_to([team]).filter(pk=item.pk).exists():
        what = why_not_usable(item, team)
        raise Conflict(what, "Ask the team that owns it to share it.", fields={field: what} if field else None)


def why_not_usable(item: Any, team: Team) -> str:
    """The sentence of a refusal."""
    return f"{item} is not shared with team {team.name}."


def grant(user: User | None, item: Any, slug: str) -> Grant:
    """Let the team with this slug use it. Granting twice changes nothing. Raises Invalid, NotAllowed."""
    require_owner(user, item)
    team = _team(slug)
    if team.pk == item.team_id:
        raise _invalid("Its own team may use it anyway.")
    with transaction.atomic():
        made, is_new = item.grants.get_or_create(team=team, defaults={"actor": actor_name(user)})
        if is_new:
            _tell(user, item, "grant", {"team": team.slug})
    return made  # type: ignore[no-any-return]


def withdraw(user: User | None, item: Any, team: Team) -> None:
    """The team may not begin to use it any more. What it runs already goes on."""
    require_owner(user, item)
    with transaction.atomic():
        deleted, _per_model = item.grants.filter(team=team).delete()
        if deleted:
            _tell(user, item, "withdraw", {"team": team.slug})


def share(user: User | None, item: Any) -> None:
    """Let every team use it, those that come later too."""
    _switch(user, item, is_shared=True)


def unshare(user: User | None, item: Any) -> None:
    """Only its own team and those it was granted to may begin to use it. What runs already goes on."""
    if item.team_id is None:
        raise Conflict(f"{item} belongs to no team, so every team may use it.", "Move it to a team first.")
    _switch(user, item, is_shared=False)


def move(user: User | None, item: Any, slug: str) -> None:
    """Give it to another team, of which the person is an operator too. The team that had it keeps nothing of it.

    Raises Conflict when the other team has one of this name, Invalid, NotAllowed.
    """
    require_owner(user, item)
    team, before = _team(slug), item.team
    if team.pk == item.team_id:
        raise _invalid("It is that team's already.")
    require(user, team, Role.OPERATOR)
    try:
        with transaction.atomic():
            if not type(item).objects.filter(pk=item.pk, team=before).update(team=team):
                raise Conflict(f"{item} has another owner meanwhile.", "Look at it again.")
            item.grants.filter(team=team).delete()
            item.team = team
            detail = {"from": before.slug if before else None, "to": team.slug}
            # In both teams' logs: one lost it, the other has it now.
            for one in (before, team):
                audit(user, one, f"{item.audited_as}.move", str(item), detail)
            events.publish("catalog")
    except IntegrityError as error:
        item.team = before
        raise Conflict(f"Team {team.name} has one like it already.", "Delete or rename that one first.") from error


def _switch(user: User | None, item: Any, is_shared: bool) -> None:
    require_owner(user, item)
    with transaction.atomic():
        if type(item).objects.filter(pk=item.pk, is_shared=not is_shared).update(is_shared=is_shared):
            item.is_shared = is_shared
            _tell(user, item, "share" if is_shared else "unshare")


def _tell(user: User | None, item: Any, verb: str, detail: dict[str, Any] | None = None) -> None:
    audit(user, item.team, f"{item.audited_as}.{verb}", str(item), detail)
    events.publish("catalog")


def _team(slug: str) -> Team:
    team = Team.objects.filter(slug=slug).first()
    if team is None:
        raise _invalid(f"There is no team {slug!r}.")
    return team


def _invalid(what: str) -> Invalid:
    return Invalid(what, "Enter the slug of another team.", fields={"team": what})
