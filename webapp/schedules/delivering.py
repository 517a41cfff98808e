"""One try to deliver a notification: a signed POST (Standard Webhooks), or a mail. All of it within LIMIT_S."""

import base64
import binascii
import hashlib
import hmac
import json
import logging
import time

from webapp.catalog import outbound
from webapp.foundation.crypto import DecryptionError
from webapp.foundation.deadline import Deadline
from webapp.schedules import mailing
from webapp.schedules.models import TARGET_SECRET, Notification, TargetKind

logger = logging.getLogger(__name__)

# From the name to the last byte that counts: a receiver that trickles holds a worker no longer than this.
LIMIT_S = 10.0
SECRET_PREFIX = "whsec_"  # noqa: S105  what a secret begins with


class NotDelivered(Exception):
    """Why; another try may help."""


def send(row: Notification) -> str:
    """Try once; what the receiver answered. Raises NotDelivered, whatever went wrong."""
    try:
        return _post(row) if row.target.kind == TargetKind.WEBHOOK else _mail(row)
    except NotDelivered:
        raise
    except Exception as error:
        logger.exception("%s could not be sent", row)
        raise NotDelivered(f"It could not be sent: {type(error).__name__}: {error}") from error


def signed(secret: str, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks: HMAC-SHA256 of "<id>.<unix seconds>.<body>", so that neither can be swapped."""
    mac = hmac.new(_key(secret), f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}",
    }


def _key(secret: str) -> bytes:
    """The bytes behind whsec_. Secrets from before are in the alphabet for addresses and lack the padding."""
    text = secret.removeprefix(SECRET_PREFIX).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise NotDelivered("Its secret is no secret of a webhook. Delete this target and add it again.") from error


def _post(row: Notification) -> str:
    body = json.dumps({"id": row.pk, "at": row.created_at.isoformat(), **row.payload}).encode()
    try:
        secret = TARGET_SECRET.decrypt(row.target)
    except DecryptionError as error:
        raise NotDelivered(f"{error} Delete this target and add it again.") from error
    headers = {
        "Content-Type": "application/json", "User-Agent": outbound.AGENT,
        **signed(secret, _message_id(row), int(time.time()), body),
    }  # fmt: skip
    try:
        with outbound.ask(
            row.target.address, outbound.environment_policy(), headers, body, Deadline(LIMIT_S)
        ) as answer:
            status = answer.status
    except outbound.OutboundError as error:
        raise NotDelivered(str(error)) from error
    if not 200 <= status < 300:
        raise NotDelivered(f"answered {status}")
    return f"answered {status}"


def _message_id(row: Notification) -> str:
    """The same for every try, and not given again after a restore has taken numbers back."""
    return f"msg_{row.pk}_{int(row.created_at.timestamp())}"


def _mail(row: Notification) -> str:
    text = row.payload.get("text", "")
    link = row.payload.get("link", "")
    try:
        return mailing.send(row.target.address, f"Modelyard: {text}"[:150], f"{text}\n\n{link}\n", Deadline(LIMIT_S))
    except mailing.MailError as error:
        raise NotDelivered(str(error)) from error
