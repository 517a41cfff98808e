"""One-time links: invitations into a team, and permission to set a new password. Nothing is sent by mail."""

import hashlib
import secrets as random_source
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from webapp.accounts import teams
from webapp.accounts.auditing import audit
from webapp.accounts.models import LinkKind, Membership, OneTimeLink, Role, Team, User
from webapp.accounts.roles import require, require_installation_admin
from webapp.foundation.errors import Conflict, Invalid, NotAllowed

INVITATION_LASTS = timedelta(days=7)
PASSWORD_LINK_LASTS = timedelta(hours=24)


def invite(user: User, team: Team, role: Role, note: str = "") -> tuple[OneTimeLink, str]:
    """An invitation and its link, which is shown this once. Whoever has the link may use it, one time."""
    require(user, team, Role.ADMIN)
    token = _token()
    with transaction.atomic():
        link = OneTimeLink.objects.create(
            kind=LinkKind.INVITATION,
            digest=_digest(token),
            team=team,
            role=role,
            note=note.strip()[:200],
            created_by=user,
            expires_at=timezone.now() + INVITATION_LASTS,
        )
        audit(user, team, "invitation.create", f"invitation {link.pk}", {"role": str(role), "note": link.note})
    return link, _address(token)


def revoke_invitation(user: User, link: OneTimeLink) -> None:
    """Close an invitation that nobody has used. Raises Conflict when somebody has."""
    assert link.team is not None
    require(user, link.team, Role.ADMIN)
    with transaction.atomic():
        if not OneTimeLink.objects.filter(pk=link.pk, used_at=None, revoked_at=None).update(revoked_at=timezone.now()):
            raise Conflict("This invitation has been used or revoked already.")
        audit(user, link.team, "invitation.revoke", f"invitation {link.pk}", {"note": link.note})


def password_link(user: User, person: User) -> tuple[OneTimeLink, str]:
    """A link with which the person sets a new password. Earlier ones stop working; the password itself stays until
    the link is used."""
    require_installation_admin(user)
    if person.is_service:
        raise Conflict("A service account has no password.")
    token = _token()
    with transaction.atomic():
        now = timezone.now()
        OneTimeLink.objects.open().filter(kind=LinkKind.PASSWORD, person=person).update(revoked_at=now)
        link = OneTimeLink.objects.create(
            kind=LinkKind.PASSWORD,
            digest=_digest(token),
            person=person,
            created_by=user,
            expires_at=now + PASSWORD_LINK_LASTS,
        )
        audit(user, None, "person.password-link", person.username)
    return link, _address(token)


def find(token: str) -> OneTimeLink | None:
    """The link with this token while it leads somewhere."""
    if not 20 <= len(token) <= 100:
        return None
    links = OneTimeLink.objects.open().select_related("team", "person", "created_by")
    return links.filter(digest=_digest(token)).first()


def accept_as_new(link: OneTimeLink, username: str, password: str, email: str = "") -> User:
    """Make an account and join the team. Raises Invalid with the field, Conflict when the link was used meanwhile."""
    user = User(username=username.strip(), email=email.strip())
    user.set_password(password)
    _check(user, password)
    with transaction.atomic():
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError as error:
            message = "This username is taken."
            raise Invalid(message, fields={"username": message}) from error
        audit(user, link.team, "person.create", user.username, {"invitation": link.pk})
        _join(link, user)
    return user


def accept(link: OneTimeLink, user: User) -> Membership:
    """Join the team with the account one has."""
    if user.is_service:
        raise NotAllowed("A service account joins no team.")
    with transaction.atomic():
        return _join(link, user)


def set_password(link: OneTimeLink, password: str) -> User:
    """Set the new password; every session of the person ends."""
    person = link.person
    assert person is not None
    _check(person, password)
    with transaction.atomic():
        _use(link, person)
        person.set_password(password)
        person.save(update_fields=["password", "has_printed_password"])
        User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1)
        audit(person, None, "person.password-set", person.username, {"link": link.pk})
    return person


def _join(link: OneTimeLink, user: User) -> Membership:
    assert link.team is not None
    _use(link, user)
    return teams.join(user, link.team, user, Role(link.role), "invitation.accept")


def _use(link: OneTimeLink, user: User) -> None:
    """Spend the link: of two people with the same link one wins."""
    if not OneTimeLink.objects.open().filter(pk=link.pk).update(used_at=timezone.now(), used_by=user):
        raise Conflict("This link has been used, revoked, or is too old.", "Ask for a new one.")


def _check(user: User, password: str) -> None:
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise Invalid(" ".join(fields.values()), fields=fields) from error
    try:
        validate_password(password, user)
    except ValidationError as error:
        message = " ".join(error.messages)
        raise Invalid(message, fields={"password": message}) from error


def _token() -> str:
    return random_source.token_urlsafe(32)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _address(token: str) -> str:
    """In the query string, because access logs keep paths and leave query strings out."""
    return f"{settings.MODELYARD_URL}{reverse('one_time_link')}?token={token}"
