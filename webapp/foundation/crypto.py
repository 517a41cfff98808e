"""Secrets at rest: encrypted with authentication, and bound to the row and field that they belong to."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from webapp.foundation import secret_store

VERSION = "s1"
NONCE_BYTES = 12


class SealBroken(Exception):
    """The text was not sealed here, not for this place, or with another master key."""


def seal(text: str, place: str) -> str:
    """`text` as `s1:<base64>`, readable only by `unseal` with the same `place`, such as `hub:3:token`.

    AES-256-GCM with a random 96-bit nonce; `place` is the associated data (NIST SP 800-38D).
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(secret_store.derive("sealing")).encrypt(nonce, text.encode(), place.encode())
    return f"{VERSION}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"


def unseal(sealed: str, place: str) -> str:
    """What was sealed for this place. Raises SealBroken for anything else, a swapped or shortened text included."""
    version, _, encoded = sealed.partition(":")
    try:
        raw = base64.urlsafe_b64decode(encoded)
        if version != VERSION:
            raise ValueError(version)
        return (
            AESGCM(secret_store.derive("sealing"))
            .decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode())
            .decode()
        )
    except (ValueError, InvalidTag) as error:
        raise SealBroken(f"The secret of {place} cannot be read: was the master key replaced?") from error
