"""One try to deliver a notification: a signed POST, or a mail."""

import hashlib
import hmac
import json
import time

from webapp.catalog import outbound
from webapp.foundation.crypto import DecryptionError, decrypt
from webapp.schedules import mailing
from webapp.schedules.models import Notification, TargetKind

TIMEOUT_S = 10.0


class NotDelivered(Exception):
    """Why; another try may help."""


def send(row: Notification) -> str:
    """Try once; what the receiver answered. Raises NotDelivered."""
    return _post(row) if row.target.kind == TargetKind.WEBHOOK else _mail(row)


def signature(secret: str, body: bytes, at: int) -> str:
    """The header X-Modelyard-Signature: HMAC-SHA256 of "<t>.<body>", so that an old message cannot be sent again."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


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
