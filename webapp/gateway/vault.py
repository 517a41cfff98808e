"""The last snapshot on disk, encrypted, so that a gateway that starts while everything else is down still serves.

AES-256-GCM under a key derived from the master key: one file, format byte + nonce + ciphertext, mode 0600.
"""

import os
import secrets as random_source
from pathlib import Path
from typing import TYPE_CHECKING

from webapp.foundation import secret_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT = b"\x01"
_NONCE_BYTES = 12
_CONTEXT = b"modelyard gateway snapshot"


class SealBroken(Exception):
    """The file was damaged, changed, or sealed under another master key."""


def save(path: Path, document: bytes) -> None:
    """Replace the file at once or not at all."""
    nonce = random_source.token_bytes(_NONCE_BYTES)
    sealed = _FORMAT + nonce + _cipher().encrypt(nonce, document, _CONTEXT)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{random_source.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def load(path: Path) -> bytes | None:
    """The document, or None when there is none yet. Raises SealBroken."""
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return None
    if sealed[:1] != _FORMAT:
        raise SealBroken(f"{path} is not a snapshot of this version")
    nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher().decrypt(nonce, ciphertext, _CONTEXT)
    except (InvalidTag, ValueError) as error:
        raise SealBroken(f"{path} was damaged or sealed under another master key") from error


def _cipher() -> "AESGCM":
    # Imported late: a process that is never asked to seal or open saves the memory.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(secret_store.derive("gateway-snapshot"))
