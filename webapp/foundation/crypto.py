"""Secrets at rest: AES-256-GCM, bound to the place that they belong to. The one use of that cipher.

A nonce is 96 random bits in front of the ciphertext; the place is the associated data (NIST SP 800-38D).
"""

import base64
import os
from typing import TYPE_CHECKING

from webapp.foundation import secret_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "s1"
NONCE_BYTES = 12


class DecryptionError(Exception):
    """What was given was not encrypted here, not for this place, with another key, or was changed since."""


def encrypt_bytes(plain: bytes, key: bytes, place: bytes) -> bytes:
    """Nonce and ciphertext, under a key of 32 bytes."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plain, place)


def decrypt_bytes(encrypted: bytes, key: bytes, place: bytes) -> bytes:
    """What `encrypt_bytes` was given. Raises DecryptionError."""
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], place)
    except (InvalidTag, ValueError) as error:
        raise DecryptionError("It was changed, or encrypted with another key or for another place.") from error


def encrypt(text: str, place: str) -> str:
    """`text` as `s1:<base64>`, readable only by `decrypt` with the same `place`, such as `hub:3:token`."""
    encrypted = encrypt_bytes(text.encode(), _key(), place.encode())
    return f"{VERSION}:{base64.urlsafe_b64encode(encrypted).decode()}"


def decrypt(encrypted: str, place: str) -> str:
    """What was encrypted for this place. Raises DecryptionError for anything else, a shortened text included."""
    version, _, encoded = encrypted.partition(":")
    try:
        raw = base64.urlsafe_b64decode(encoded)
        if version != VERSION:
            raise ValueError(version)
        return decrypt_bytes(raw, _key(), place.encode()).decode()
    except (ValueError, DecryptionError) as error:
        raise DecryptionError(f"The secret of {place} cannot be read: was the master key replaced?") from error


def _key() -> bytes:
    return secret_store.derive("sealing")


def _cipher(key: bytes) -> "AESGCM":
    # Imported late: a process that is never asked to encrypt saves the memory.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
