"""The last snapshot on disk, encrypted, so that a gateway that starts while everything else is down still serves.

AES-256-GCM under a key derived from the master key: one file, format byte + nonce + ciphertext, mode 0600.
"""

import os
import secrets as random_source
from pathlib import Path

from webapp.foundation import crypto, secret_store
from webapp.foundation.crypto import DecryptionError

_FORMAT = b"\x01"
_PLACE = b"modelyard gateway snapshot"


def save(path: Path, document: bytes) -> None:
    """Replace the file at once or not at all."""
    encrypted = _FORMAT + crypto.encrypt_bytes(document, _key(), _PLACE)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{random_source.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encrypted)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def load(path: Path) -> bytes | None:
    """The document, or None when there is none yet. Raises DecryptionError."""
    try:
        encrypted = path.read_bytes()
    except FileNotFoundError:
        return None
    if encrypted[:1] != _FORMAT:
        raise DecryptionError(f"{path} is not a snapshot of this version")
    try:
        return crypto.decrypt_bytes(encrypted[1:], _key(), _PLACE)
    except DecryptionError as error:
        raise DecryptionError(f"{path} was damaged, or encrypted under another master key") from error


def _key() -> bytes:
    return secret_store.derive("gateway-snapshot")
