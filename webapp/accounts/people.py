"""Accounts of people, as an administrator looks after them."""

from django.contrib.auth import update_session_auth_hash
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest

from webapp.accounts import principals
from webapp.accounts.auditing import audit, difference
from webapp.accounts.models import User
from webapp.accounts.roles import require_installation_admin
from webapp.foundation.errors import Conflict


def deactivate(user: User, person: User) -> None:
    """Shut somebody out: sessions, open pages and keys end, what they made stays. Not oneself, not the last admin."""
    _set_active(user, person, False)


def reactivate(user: User, person: User) -> None:
    """Let somebody in again, with the password and the keys there were."""
    _set_active(user, person, True)


def change(user: User, person: User, is_active: bool | None = None, is_admin: bool | None = None) -> None:
    """Several of these at once, or none of them. None leaves one as it is."""
    with transaction.atomic():
        if is_active is not None:
            _set_active(user, person, is_active)
        if is_admin is not None:
            set_installation_admin(user, person, is_admin)


def end_sessions(user: User, person: User, request: HttpRequest | None = None) -> None:
    """Sign the person out everywhere. With `request` the session that asks stays (one's own other ones end)."""
    if user.pk != person.pk:
        require_installation_admin(user)
    with transaction.atomic():
        User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1)
        audit(user, None, "person.end-sessions", person.username)
        principals.announce()
    if request is not None and user.pk == person.pk:
        user.refresh_from_db()
        update_session_auth_hash(request, user)


def remove_second_factor(user: User | None, person: User) -> None:
    """For somebody who lost phone, keys and recovery codes: every factor and every session of theirs ends, the
    password stays. Not for oneself, where that page asks for the password first. None is whoever holds the machine."""
    require_installation_admin(user)
    if user is not None and user.pk == person.pk:
        raise Conflict(
            "Manage your own two-factor authentication on the Security page.", "Another administrator can reset it too."
        )
    # Imported late: it wants the apps loaded.
    from allauth.mfa.models import Authenticator

    with transaction.atomic():
        kinds = sorted(Authenticator.objects.filter(user=person).values_list("type", flat=True))
        if not kinds:
            raise Conflict(f"{person} has no two-factor authentication.")
        Authenticator.objects.filter(user=person).delete()
        User.objects.filter(pk=person.pk).update(session_epoch=F("session_epoch") + 1)
        audit(user, None, "person.remove-second-factor", person.username, {"removed": kinds})


def set_installation_admin(user: User, person: User, is_admin: bool) -> None:
    """Give or take the rights over everything. The last one keeps them."""
    require_installation_admin(user)
    if person.is_service:
        raise Conflict("A service account cannot be an administrator.")
    with transaction.atomic():
        if not is_admin:
            _keep_an_admin(person)
        changed = User.objects.filter(pk=person.pk, is_superuser=not is_admin).update(
            is_superuser=is_admin, is_staff=is_admin
        )
        if changed:
            change = difference({"is_admin": not is_admin}, {"is_admin": is_admin})
            audit(user, None, "person.installation-admin", person.username, change)
            principals.announce()


def _set_active(user: User, person: User, is_active: bool) -> None:
    require_installation_admin(user)
    if person.pk == user.pk:
        raise Conflict("You cannot deactivate your own account.", "Another administrator can.")
    with transaction.atomic():
        if not is_active:
            _keep_an_admin(person)
        if User.objects.filter(pk=person.pk, is_active=not is_active).update(is_active=is_active):
            verb = "person.reactivate" if is_active else "person.deactivate"
            audit(user, None, verb, person.username, difference({"is_active": not is_active}, {"is_active": is_active}))
            principals.announce()


def _keep_an_admin(person: User) -> None:
    # Locks every admin's row, so that two of them cannot remove each other at the same time.
    admins = User.objects.select_for_update().filter(is_superuser=True, is_active=True).order_by("pk")
    if [admin.pk for admin in admins] == [person.pk]:
        raise Conflict(f"{person} is the last administrator.", "Make somebody else an administrator first.")
