"""What people ask of notification targets: add, change, test, delete."""

import base64
import secrets
from email.headerregistry import Address

from django.db import IntegrityError, transaction
from django.utils import timezone

from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog import outbound
from webapp.foundation.errors import Conflict, Invalid
from webapp.schedules import delivering, mailing, notifying
from webapp.schedules.models import TARGET_SECRET, Notification, Target, TargetKind

MOST_TARGETS = 20


def add(user: User | None, team: Team, kind: str, address: str, events: list[str]) -> tuple[Target, str]:
    """Keep a target; a webhook's secret is answered this once and never again. Raises Invalid, Conflict."""
    require(user, team, Role.ADMIN)
    address = address.strip()
    _check(kind, address, events)
    if Target.objects.filter(team=team).count() >= MOST_TARGETS:
        raise Conflict(f"A team can have {MOST_TARGETS} notification targets at most.", "Delete one first.")
    secret = _new_secret() if kind == TargetKind.WEBHOOK else ""
    try:
        with transaction.atomic():
            target = Target.objects.create(
                team=team, kind=kind, address=address, events=sorted(set(events)), created_by=user
            )
            if secret:
                target.sealed_secret = TARGET_SECRET.encrypt(target, secret)
                target.save(update_fields=["sealed_secret"])
            audit(user, team, "target.add", shown(address), {"kind": kind, "events": sorted(set(events))})
    except IntegrityError as error:
        message = "The team already has this notification target."
        raise Conflict(message, "Change that one.", fields={"address": message}) from error
    return target, secret


def _new_secret() -> str:
    """As Standard Webhooks writes one: 32 random bytes in base64."""
    return f"{delivering.SECRET_PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}"


def change(user: User | None, target: Target, events: list[str]) -> None:
    """Tell it other things from now on."""
    require(user, target.team, Role.ADMIN)
    _check_events(events)
    with transaction.atomic():
        audit(user, target.team, "target.change", shown(target.address), {"events": sorted(set(events))})
        Target.objects.filter(pk=target.pk).update(events=sorted(set(events)))


def delete(user: User | None, target: Target) -> None:
    """Delete it, and what it was told."""
    require(user, target.team, Role.ADMIN)
    with transaction.atomic():
        audit(user, target.team, "target.delete", shown(target.address))
        target.delete()


def test(user: User | None, target: Target) -> Notification:
    """Send a message that says nothing but that it arrives."""
    require(user, target.team, Role.ADMIN)
    with transaction.atomic():
        audit(user, target.team, "target.test", shown(target.address))
        key = f"{target.pk}:{timezone.now().timestamp():.6f}"
        return notifying.send_to(target, notifying.TEST, key, "Test notification from Modelyard.", {})


def _check(kind: str, address: str, events: list[str]) -> None:
    _check_events(events)
    if kind == TargetKind.WEBHOOK:
        if len(address) > 500 or outbound.parts_of(address).scheme not in ("https", "http"):
            raise _wrong("address", "A URL that begins with https:// is required.")
        try:
            outbound.check(address, outbound.environment_policy())
        except outbound.OutboundError as error:
            # A name that cannot be resolved now may be resolved later.
            if error.code == "not_allowed":
                raise Invalid(str(error), error.advice, fields={"address": str(error)}) from error
    elif kind == TargetKind.MAIL:
        if not mailing.is_possible():
            message = "No mail can be sent: an administrator has to set MODELYARD_SMTP_URL first."
            raise Invalid(message, "Use a webhook until then.", fields={"kind": message})
        if not _is_mail(address):
            raise _wrong("address", "An email address like team@example.org is required.")
    else:
        raise _wrong("kind", "Choose webhook or mail.")


def _check_events(events: list[str]) -> None:
    unknown = [event for event in events if event not in notifying.EVENTS]
    if unknown or not events:
        raise _wrong("events", f"Choose among {', '.join(notifying.EVENTS)}.")


def _is_mail(address: str) -> bool:
    try:
        found = Address(addr_spec=address)
    except (ValueError, IndexError):
        return False
    return bool(found.username and "." in found.domain and len(address) <= 254 and "\n" not in address)


def shown(address: str) -> str:
    """Without what may be a secret in a web address."""
    parts = outbound.parts_of(address)
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else address


def _wrong(field: str, what: str) -> Invalid:
    return Invalid(what, fields={field: what})
