"""Claim a key before the work, write the answer down after it, give it again to whoever asks again.

The unique constraint decides who was first, on either database. A claim is committed before the work begins and never
taken over: when a process dies in between, nobody knows how far it came, and the next one is told so.
"""

import hashlib
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from webapp.foundation.errors import Conflict, Invalid
from webapp.idempotency.models import ANSWER, Exchange

KEPT = timedelta(hours=24)
# No route works longer; what has run longer has died.
DEAD_AFTER = timedelta(minutes=2)
MAX_KEY = 200


def fingerprint(method: str, path: str, body: bytes) -> str:
    return hashlib.sha256(b"\x00".join((method.encode(), path.encode("utf-8", "replace"), body))).hexdigest()


def claim(caller: str, key: str, print_: str) -> tuple[Exchange, bool]:
    """The exchange under this key, and whether it is the caller's to carry out now.

    Raises Invalid when the key is unusable or was sent with another request, Conflict while its twin is running or when
    that was cut off.
    """
    if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        message = f"An Idempotency-Key is 1 to {MAX_KEY} printable ASCII characters; a UUID is recommended."
        raise Invalid(message, fields={"Idempotency-Key": message})
    forget_old()
    try:
        with transaction.atomic():
            return Exchange.objects.create(caller=caller, key=key, fingerprint=print_), True
    except IntegrityError:
        earlier = Exchange.objects.filter(caller=caller, key=key).first()
    if earlier is None:  # its request was refused in this moment: nothing was done
        raise Conflict("A request with this Idempotency-Key ended just now.", "Send it again.")
    if earlier.fingerprint != print_:
        message = "This Idempotency-Key was sent with another request."
        raise Invalid(message, "Use a new key for a new request.", fields={"Idempotency-Key": message})
    if earlier.is_running:
        _refuse_twin(earlier)
    return earlier, False


def finish(exchange: Exchange, status: int, content_type: str, answer: bytes) -> None:
    """Write down what was answered. Refusals changed nothing and are forgotten, so that one may ask again; a failure
    may have changed something, so its answer stands."""
    if not 200 <= status < 300 and status != 500:
        Exchange.objects.filter(pk=exchange.pk, status=None).delete()
        return
    Exchange.objects.filter(pk=exchange.pk, status=None).update(
        status=status, content_type=content_type[:100], sealed_answer=ANSWER.encrypt(exchange, answer.decode("latin-1"))
    )


def answer(exchange: Exchange) -> tuple[int, str, bytes]:
    """Status, content type and body as they were sent the first time."""
    assert exchange.status is not None
    return exchange.status, exchange.content_type, ANSWER.decrypt(exchange).encode("latin-1")


def forget_old() -> None:
    """Drop what is older than a day."""
    Exchange.objects.filter(created_at__lt=timezone.now() - KEPT).delete()


def _refuse_twin(earlier: Exchange) -> None:
    if earlier.created_at > timezone.now() - DEAD_AFTER:
        raise Conflict("The first request with this Idempotency-Key is still running.", "Send it again in a second.")
    raise Conflict(
        "The first request with this Idempotency-Key was cut off; nobody knows whether it took effect.",
        "Look at what is there, then send the request under a new key if it is still wanted.",
    )
