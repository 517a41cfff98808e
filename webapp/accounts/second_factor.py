"""Seeds of one-time codes and of recovery codes, encrypted for the person they belong to."""

from allauth.mfa.models import Authenticator
from django.db.models import Q

from webapp.accounts.models import User
from webapp.foundation.crypto import DecryptionError
from webapp.foundation.encrypted import EncryptedField


def _place(row: Authenticator) -> str:
    return f"second-factor:{row.user_id}"


def _former_place(_row: Authenticator) -> str:
    return "second-factor"


SEEDS = tuple(
    EncryptedField(Authenticator, "data", _place, member=member, former_place=_former_place)
    for member in ("secret", "seed")
)


def encrypt(user: User, text: str) -> str:
    """As an authenticator of this person may hold it."""
    return SEEDS[0].encrypt(Authenticator(user=user), text)


def decrypt(text: str) -> str:
    """In clear, if it is stored with the person it was encrypted for. Raises DecryptionError.

    allauth shows the text alone. A text that stands in several rows was copied by somebody who writes to the database.
    """
    rows = list(Authenticator.objects.filter(Q(data__secret=text) | Q(data__seed=text))[:2])
    if len(rows) != 1:
        raise DecryptionError("This is no second factor of anybody, or one of several people.")
    return SEEDS[0].opened(rows[0], text)
