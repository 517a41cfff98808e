"""Secrets at rest: AES-256-GCM, bound to the place that they belong to. The one use of that cipher.

A nonce is 96 random bits in front of the ciphertext; the place is the associated data (NIST SP 800-38D).
"""

import base64
import os
from typing import TYPE_CHECKING

from webapp.foundation import key_ring, secret_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "s2"
# What was written before texts named their key.
UNNAMED = "s1"
PURPOSE = "sealing"
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
    """`text` as `s2:<id of the master key>:<base64>`, readable only by `decrypt` with the same `place`.
    Raises MasterKeyError.

    For rows of the database, `encrypted.EncryptedField` is the way: what is not declared there is never re-encrypted.
    """
    key = key_ring.writing()
    encrypted = encrypt_bytes(text.encode(), secret_store.derived(key.secret, PURPOSE), place.encode())
    return f"{mark(key)}{base64.urlsafe_b64encode(encrypted).decode()}"


def decrypt(encrypted: str, place: str) -> str:
    """What was encrypted for this place. Raises DecryptionError for anything else, a shortened text included."""
    version, _, rest = encrypted.partition(":")
    name, _, encoded = rest.rpartition(":")
    # Texts from before name no key.
    keys = [key for key in key_ring.current() if key.id == name or (version == UNNAMED and not name)]
    try:
        if version not in (VERSION, UNNAMED):
            raise ValueError(version)
        raw = base64.urlsafe_b64decode(encoded)
        return _with_any(raw, keys, place.encode()).decode()
    except (ValueError, DecryptionError) as error:
        raise DecryptionError(f"The secret of {place} cannot be read: was the master key replaced?") from error


def mark(key: key_ring.MasterKey) -> str:
    """How every text encrypted under this master key begins."""
    return f"{VERSION}:{key.id}:"


def _with_any(raw: bytes, keys: list[key_ring.MasterKey], place: bytes) -> bytes:
    for key in keys:
        try:
            return decrypt_bytes(raw, secret_store.derived(key.secret, PURPOSE), place)
        except DecryptionError:
            continue
    raise DecryptionError("No key of this installation opens it.")


def _cipher(key: bytes) -> "AESGCM":
    # Imported late: a process that is never asked to encrypt saves the memory.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
