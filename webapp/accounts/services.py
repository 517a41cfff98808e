"""Every change of users, teams and keys."""

import base64
import hashlib
import hmac
import json
import secrets as random_source
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from webapp import secrets
from webapp.accounts.models import ApiKey, AuditEntry, Membership, Role, Team, User
from webapp.errors import Invalid, NotAllowed
from webapp.events import services as events

KEY_PREFIX = "my_"
TOKEN_PREFIX = "myp_"  # noqa: S105  a public prefix, not a secret
SCOPES = ("inference", "read", "manage")
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
        team = Team.objects.order_by("id").first()
        if team is None:
            team = Team.objects.create(name=team_name, slug=slugify(team_name) or "team")
        Membership.objects.get_or_create(user=user, team=team, defaults={"role": Role.ADMIN})
        events.publish("gateway")
    return user, team


def may_be_exposed() -> bool:
    """Whether other machines may reach this Modelyard: an admin with a password of their own choice exists, and none
    whose password was printed."""
    admins = User.objects.filter(is_superuser=True, is_active=True)
    return admins.exists() and not admins.filter(has_printed_password=True).exists()


def create_key(
    user: User, team: Team, name: str, scopes: Iterable[str] = SCOPES, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its secret text, which exists nowhere else and is shown once."""
    require(user, team, Role.VIEWER)
    scopes = list(scopes)
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        message = f"Unknown scope {', '.join(unknown)}." if unknown else "A key needs a scope."
        raise Invalid(message, f"Choose among {', '.join(SCOPES)}.", fields={"scopes": message})
    public = random_source.token_hex(4)
    text = f"{KEY_PREFIX}{public}_{random_source.token_urlsafe(32)}"
    with transaction.atomic():
        key = ApiKey.objects.create(
            user=user,
            team=team,
            name=name.strip() or "key",
            prefix=f"{KEY_PREFIX}{public}",
            digest=digest(text),
            scopes=scopes,
            expires_at=expires_at,
        )
        audit(user, team, "key.create", key.prefix, {"name": key.name, "scopes": scopes})
        events.publish("gateway")
    return key, text


def revoke_key(user: User, key: ApiKey) -> None:
    """Close the door for this key; gateways follow within a second."""
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit(user, key.team, "key.revoke", key.prefix, {"name": key.name})
            events.publish("gateway")


def find_key(text: str) -> ApiKey | None:
    """The usable key with this text, found by one indexed query."""
    if not text.startswith(KEY_PREFIX) or len(text) > 200:
        return None
    return ApiKey.objects.usable().select_related("user", "team").filter(digest=digest(text)).first()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def inference_token(user: User, team: Team, deployments: Iterable[int]) -> str:
    """A five-minute token for a signed-in browser, checked by the gateway without asking anybody."""
    claims = {
        "user": user.pk,
        "team": team.pk,
        "deployments": sorted(deployments),
        "exp": int(time.time()) + INFERENCE_TOKEN_S,
    }
    payload = _b64(json.dumps(claims, separators=(",", ":")).encode())
    signature = hmac.new(secrets.derive("playground"), payload.encode(), hashlib.sha256).digest()
    return f"{TOKEN_PREFIX}{payload}.{_b64(signature)}"


def audit(user: User | None, team: Team | None, verb: str, subject: str, detail: dict[str, Any] | None = None) -> None:
    """Write down who changed what. `detail` must hold no secret."""
    AuditEntry.objects.create(
        user=user,
        username=user.username if user else "system",
        team=team,
        verb=verb,
        subject=subject[:120],
        detail=detail or {},
    )


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


def require(user: User | None, team: Team, role: Role) -> None:
    """Raise NotAllowed unless the user has at least this role in the team. `None` is Modelyard itself."""
    if user is None or user.is_superuser:
        return
    membership = Membership.objects.filter(user=user, team=team).first()
    if membership is None or _RANK[Role(membership.role)] < _RANK[role]:
        raise NotAllowed(f"This needs the role {role} in team {team.name}.", "Ask one of the team's admins.")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
