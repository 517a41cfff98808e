"""The one question of permission: has this person at least that role in the team?"""

from webapp.accounts.models import Membership, Role, Team, User
from webapp.foundation.errors import NotAllowed

_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


def require(user: User | None, team: Team, role: Role) -> None:
    """Raise NotAllowed unless the user has at least this role in the team. `None` is Modelyard itself."""
    if user is None or user.is_superuser:
        return
    membership = Membership.objects.filter(user=user, team=team).first()
    if membership is None or _RANK[Role(membership.role)] < _RANK[role]:
        raise NotAllowed(f"This needs the role {role} in team {team.name}.", "Ask one of the team's admins.")


def require_installation_admin(user: User | None) -> None:
    """Raise NotAllowed unless this is the person who runs the whole installation."""
    if user is not None and not user.is_superuser:
        raise NotAllowed("Only an administrator can do this.", "Ask an administrator.")


def higher(one: Role, other: Role) -> Role:
    return one if _RANK[one] >= _RANK[other] else other
