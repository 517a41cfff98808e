"""API keys: personal ones and a team's service keys, their making, rotation and end."""

import hashlib
import secrets as random_source
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import EllipsisType

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from webapp.accounts import principals
from webapp.accounts.auditing import audit, difference
from webapp.accounts.models import ApiKey, Membership, Role, Team, User
from webapp.accounts.roles import require
from webapp.foundation.errors import Conflict, Invalid, NotAllowed

KEY_PREFIX = "my_"
SCOPES = ("inference", "read", "manage")
# How long the old key goes on working beside the new one: what a person may choose, in hours.
OVERLAPS_H = (0, 24, 168)
# "Last used" need not be exact to the second, and a write per request would be.
TOUCH_AFTER = timedelta(seconds=60)


def create_key(
    user: User, team: Team, name: str, scopes: Iterable[str] = SCOPES, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new personal key and its secret text, which exists nowhere else and is shown once."""
    require(user, team, Role.VIEWER)
    if user.is_service:
        raise NotAllowed("A service key makes no further keys.", "An admin of the team makes them.")
    scopes, name = _checked(scopes, name, expires_at)
    with transaction.atomic():
        key, text = _make(user, team, name, scopes, expires_at)
        audit(user, team, "key.create", key.prefix, {"name": name, "scopes": scopes, "expires_at": _iso(expires_at)})
        principals.announce()
    return key, text


def create_service_key(
    user: User, team: Team, name: str, scopes: Iterable[str] = ("inference",), expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A key of the team itself: it works on when the admin who made it has gone.

    Behind it stands an account of its own that cannot sign in: operator with the scope `manage`, else viewer.
    """
    require(user, team, Role.ADMIN)
    scopes, name = _checked(scopes, name, expires_at)
    with transaction.atomic():
        account = User(username=_service_name(team, name), is_service=True, first_name=name[:150])
        account.set_unusable_password()
        account.save()
        role = Role.OPERATOR if "manage" in scopes else Role.VIEWER
        Membership.objects.create(user=account, team=team, role=role)
        key, text = _make(account, team, name, scopes, expires_at)
        detail = {"name": name, "scopes": scopes, "expires_at": _iso(expires_at), "account": account.username}
        audit(user, team, "key.create-service", key.prefix, detail)
        principals.announce()
    return key, text


def rotate_key(user: User, key: ApiKey, overlap_h: int = 0) -> tuple[ApiKey, str]:
    """A new key with the same rights; the old one works for `overlap_h` hours more (0: not at all).

    The new one lives as long as the old one was made to. Raises Conflict for a key that has ended.
    """
    _require_owner(user, key)
    if overlap_h not in OVERLAPS_H:
        message = f"The old key can stay valid for {', '.join(map(str, OVERLAPS_H))} hours."
        raise Invalid(message, fields={"overlap_h": message})
    now = timezone.now()
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().select_related("user", "team").get(pk=key.pk)
        if old.is_revoked or old.is_expired:
            raise Conflict(f"The key {old.name} has already expired or been revoked.", "Create a new one.")
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        new, text = _make(old.user, old.team, old.name, old.scopes, now + lifetime if lifetime else None, old)
        if overlap_h == 0:
            ApiKey.objects.filter(pk=old.pk).update(revoked_at=now)
        else:
            ends = now + timedelta(hours=overlap_h)
            ApiKey.objects.filter(pk=old.pk).update(expires_at=min(old.expires_at or ends, ends))
        audit(user, old.team, "key.rotate", old.prefix, {"new": new.prefix, "overlap_h": overlap_h})
        principals.announce()
    return new, text


def change_key(
    user: User, key: ApiKey, name: str | None = None, expires_at: datetime | EllipsisType | None = ...
) -> None:
    """Rename a key, or move the day on which it ends (None: never; `...`: as it is). Raises Conflict when it has
    ended."""
    _require_owner(user, key)
    with transaction.atomic():
        row = ApiKey.objects.select_for_update().select_related("user", "team").get(pk=key.pk)
        if row.is_revoked or row.is_expired:
            raise Conflict(f"The key {row.name} has already expired or been revoked.", "Create a new one.")
        before = {"name": row.name, "expires_at": _iso(row.expires_at)}
        ends = row.expires_at if isinstance(expires_at, EllipsisType) else expires_at
        _scopes, row.name = _checked(row.scopes, row.name if name is None else name, ends)
        row.expires_at = ends
        row.save(update_fields=["name", "expires_at"])
        after = {"name": row.name, "expires_at": _iso(row.expires_at)}
        audit(user, row.team, "key.change", row.prefix, difference(before, after))
        principals.announce()


def revoke_key(user: User | None, key: ApiKey) -> None:
    """Revoke this key; gateways follow within a second. For its owner and the team's admins."""
    if user is not None and key.user_id != user.pk:
        require(user, key.team, Role.ADMIN)
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit(user, key.team, "key.revoke", key.prefix, {"name": key.name})
            principals.announce()


def find_key(text: str) -> ApiKey | None:
    """The usable key with this text, found by one indexed query."""
    if not text.startswith(KEY_PREFIX) or len(text) > 200:
        return None
    return ApiKey.objects.usable().select_related("user", "team").filter(digest=digest(text)).first()


def touch(key: ApiKey) -> None:
    """Remember that the key was used just now, to the minute."""
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at > TOUCH_AFTER:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _make(
    owner: User, team: Team, name: str, scopes: list[str], expires_at: datetime | None, old: ApiKey | None = None
) -> tuple[ApiKey, str]:
    public = random_source.token_hex(4)
    text = f"{KEY_PREFIX}{public}_{random_source.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        user=owner,
        team=team,
        name=name,
        prefix=f"{KEY_PREFIX}{public}",
        digest=digest(text),
        scopes=scopes,
        expires_at=expires_at,
        rotated_from=old,
    )
    return key, text


def _checked(scopes: Iterable[str], name: str, expires_at: datetime | None) -> tuple[list[str], str]:
    scopes = list(dict.fromkeys(scopes))
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        message = f"Unknown scope {', '.join(unknown)}." if unknown else "A key needs a scope."
        raise Invalid(message, f"Choose among {', '.join(SCOPES)}.", fields={"scopes": message})
    if expires_at is not None and timezone.is_naive(expires_at):
        message = "Say the time zone too, for example 2027-01-31T12:00:00Z."
        raise Invalid(message, fields={"expires_at": message})
    return scopes, name.strip()[:80] or "key"


def _require_owner(user: User, key: ApiKey) -> None:
    """A personal key is its owner's alone; a service key is in the hands of the team's admins."""
    if key.user.is_service:
        require(user, key.team, Role.ADMIN)
    elif key.user_id != user.pk:
        raise NotAllowed("This key is somebody else's.", "You may revoke it.")
    else:
        require(user, key.team, Role.VIEWER)


def _service_name(team: Team, name: str) -> str:
    """A user name that no person can choose: theirs have no colon."""
    return f"service:{team.slug}:{slugify(name)[:60] or 'key'}:{random_source.token_hex(3)}"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
