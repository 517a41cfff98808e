"""Deliver a notification: a signed POST, or a mail. Five tries, further and further apart, then it is given up."""

import hashlib
import hmac
import json
import time
from datetime import timedelta

from django.utils import timezone

from webapp.catalog import outbound
from webapp.foundation.crypto import DecryptionError, decrypt
from webapp.schedules import mailing
from webapp.schedules.models import Notification, NotificationState, TargetKind

# After try number n (from 1) wait so long; the fifth is the last.
BACKOFF_S = (30, 120, 600, 3600)
TRIES = len(BACKOFF_S) + 1
# Longer than one try may take: nobody else sends meanwhile.
LEASE_S = 90
TIMEOUT_S = 10.0


class NotDelivered(Exception):
    """Why; another try may help."""


def deliver(notification_id: int) -> None:
    """Send it if it is due and nobody else does. A crash in between sends it once more: receivers know it by its id."""
    now = timezone.now()
    row = Notification.objects.select_related("target__team").filter(pk=notification_id, next_due_at__lte=now).first()
    if row is None or row.state != NotificationState.PENDING:
        return
    held = Notification.objects.filter(pk=row.pk, next_due_at=row.next_due_at)
    if not held.update(next_due_at=now + timedelta(seconds=LEASE_S), attempts=row.attempts + 1):
        return
    row.attempts += 1
    try:
        said = _post(row) if row.target.kind == TargetKind.WEBHOOK else _mail(row)
    except NotDelivered as error:
        _put_off(row, str(error))
        return
    Notification.objects.filter(pk=row.pk).update(
        state=NotificationState.SENT, answer=said[:300], sent_at=timezone.now(), next_due_at=None
    )


def signature(secret: str, body: bytes, at: int) -> str:
    """The header X-Modelyard-Signature: HMAC-SHA256 of "<t>.<body>", so that an old message cannot be sent again."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def _put_off(row: Notification, why: str) -> None:
    is_last = row.attempts >= TRIES
    wait = None if is_last else timezone.now() + timedelta(seconds=BACKOFF_S[row.attempts - 1])
    state = NotificationState.FAILED if is_last else NotificationState.PENDING
    Notification.objects.filter(pk=row.pk).update(state=state, answer=why[:300], next_due_at=wait)


def _post(row: Notification) -> str:
    body = json.dumps({"id": row.pk, "at": row.created_at.isoformat(), **row.payload}).encode()
    try:
        secret = decrypt(row.target.sealed_secret, row.target.secret_place)
    except DecryptionError as error:
        raise NotDelivered(f"{error} Delete this target and add it again.") from error
    headers = {
        "Content-Type": "application/json", "User-Agent": outbound.AGENT,
        "X-Modelyard-Signature": signature(secret, body, int(time.time())),
    }  # fmt: skip
    try:
        with outbound.ask(row.target.address, outbound.environment_policy(), headers, TIMEOUT_S, body) as answer:
            status = answer.status
    except outbound.OutboundError as error:
        raise NotDelivered(str(error)) from error
    if not 200 <= status < 300:
        raise NotDelivered(f"answered {status}")
    return f"answered {status}"


def _mail(row: Notification) -> str:
    text = row.payload.get("text", "")
    link = row.payload.get("link", "")
    try:
        return mailing.send(row.target.address, f"Modelyard: {text}"[:150], f"{text}\n\n{link}\n")
    except mailing.MailError as error:
        raise NotDelivered(str(error)) from error
