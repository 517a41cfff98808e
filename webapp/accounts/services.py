"""What other apps ask of accounts: roles, the audit log, keys, the first admin, tokens for the playground.

The verbs of people, teams, links and sign-in stand in files of their own: people.py, teams.py, links.py, sign_in.py.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable

from django.db import transaction
from django.utils.text import slugify

from webapp.accounts.auditing import audit, difference
from webapp.accounts.keys import SCOPES, create_key, digest, find_key, revoke_key
from webapp.accounts.models import Membership, Role, Team, User
from webapp.accounts.roles import require
from webapp.foundation import secret_store
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS, ROUTES

__all__ = [
    "INFERENCE_TOKEN_S",
    "SCOPES",
    "audit",
    "create_first_admin",
    "create_key",
    "difference",
    "digest",
    "find_key",
    "inference_token",
    "may_be_exposed",
    "require",
    "revoke_key",
    "team_choices",
]

TOKEN_PREFIX = "myp_"  # noqa: S105  a public prefix, not a secret
INFERENCE_TOKEN_S = 300


def create_first_admin(username: str, password: str, team_name: str, is_printed: bool = False) -> tuple[User, Team]:
    """The first person and the first team. Safe to call again: what is there stays as it is.

    `is_printed`: nobody chose the password, and it stands on a console.
    """
    with transaction.atomic():
        user = User.objects.filter(is_superuser=True).order_by("id").first()
        if user is None:
            user = User.objects.create_superuser(username=username, email="", password=password)
            User.objects.filter(pk=user.pk).update(has_printed_password=is_printed)
            audit(None, None, "person.create", username, {"is_admin": True})
        team = Team.objects.order_by("id").first()
        if team is None:
            team = Team.objects.create(name=team_name, slug=slugify(team_name) or "team")
            audit(None, team, "team.create", team.name, {"first_admin": username})
        Membership.objects.get_or_create(user=user, team=team, defaults={"role": Role.ADMIN})
        events.publish(PRINCIPALS, ROUTES)
    return user, team


def may_be_exposed() -> bool:
    """Whether other machines may reach this Modelyard: an admin with a password of their own choice exists, and none
    whose password was printed."""
    admins = User.objects.filter(is_superuser=True, is_active=True)
    return admins.exists() and not admins.filter(has_printed_password=True).exists()


def team_choices(exclude: Team | None = None) -> list[Team]:
    """Teams that something of `exclude` may be granted to, by name."""
    teams = Team.objects.order_by("name")
    return list(teams.exclude(pk=exclude.pk) if exclude else teams)


def inference_token(user: User, team: Team, deployments: Iterable[int]) -> str:
    """A five-minute token for a signed-in browser, checked by the gateway without asking anybody."""
    claims = {
        "user": user.pk,
        "team": team.pk,
        "deployments": sorted(deployments),
        "exp": int(time.time()) + INFERENCE_TOKEN_S,
    }
    payload = _b64(json.dumps(claims, separators=(",", ":")).encode())
    signature = hmac.new(secret_store.derive("playground"), payload.encode(), hashlib.sha256).digest()
    return f"{TOKEN_PREFIX}{payload}.{_b64(signature)}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
