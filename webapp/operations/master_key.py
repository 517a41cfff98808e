"""The master key outside its folder: recognised by a fingerprint, carried in a file that a passphrase opens.

No Django here: after the loss of everything the key must be back before any setting is read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from webapp.foundation import key_ring
from webapp.foundation.crypto import NONCE_BYTES, DecryptionError, decrypt_bytes, encrypt_bytes
from webapp.foundation.key_ring import MasterKey, MasterKeyError

FORMAT = "modelyard master key, version 1"
# While keys are rotated: the one that writes, then those that still read.
FORMAT_OF_SEVERAL = "modelyard master keys, version 2"
KEY_BYTES = 32
# RFC 7914; 64 MiB and about a fifth of a second per guess.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 16, 8, 1
SCRYPT_MEMORY_BYTES = 128 * 1024 * 1024
SHORTEST_PASSPHRASE = 12


class KeyFileError(Exception):
    """The key file cannot be made or opened; the text says why and what to do."""


def path() -> Path:
    """Where the running processes look for it."""
    return key_ring.path()


def read() -> bytes | None:
    """The 32 bytes of the key that writes, or None when this installation has no key yet. Never makes one. Raises
    KeyFileError."""
    keys = ring()
    return keys[0].secret if keys else None


def ring() -> key_ring.Ring:
    """All keys of this installation, the one that writes first. Raises KeyFileError."""
    try:
        return key_ring.stored()
    except MasterKeyError as error:
        raise KeyFileError(str(error)) from error


def write(*keys: bytes) -> None:
    """Put the keys where the processes look for them, the one that writes first."""
    key_ring.store([MasterKey(key) for key in keys])


def export(keys: Sequence[bytes], passphrase: str) -> bytes:
    """The key file: JSON, sealed with AES-256-GCM under scrypt(passphrase). Raises KeyFileError."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise KeyFileError(f"Choose a passphrase of at least {SHORTEST_PASSPHRASE} characters.")
    salt = os.urandom(16)
    form = FORMAT if len(keys) == 1 else FORMAT_OF_SEVERAL
    head = {"format": form, "fingerprint": key_ring.fingerprint(keys[0]), "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}
    stretched = _stretched(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    encrypted = encrypt_bytes(b"".join(keys), stretched, _bound(head))
    nonce, sealed = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
    body = {name: base64.b64encode(value).decode() for name, value in (("salt", salt), ("nonce", nonce))}
    return json.dumps({**head, **body, "sealed": base64.b64encode(sealed).decode()}, indent=1).encode() + b"\n"


def open_key_file(document: bytes, passphrase: str) -> tuple[bytes, ...]:
    """The keys in a key file, the one that wrote first. Raises KeyFileError for a wrong passphrase, a damaged file."""
    try:
        fields = json.loads(document)
        if fields["format"] not in (FORMAT, FORMAT_OF_SEVERAL):
            raise ValueError(fields["format"])
        head = {name: fields[name] for name in ("format", "fingerprint", "n", "r", "p")}
        # A file may not make us spend more than our own would.
        if (head["n"], head["r"], head["p"]) != (SCRYPT_N, SCRYPT_R, SCRYPT_P):
            raise ValueError("unknown scrypt parameters")
        salt, nonce, sealed = (base64.b64decode(fields[name], validate=True) for name in ("salt", "nonce", "sealed"))
        keys = decrypt_bytes(
            nonce + sealed, _stretched(passphrase, salt, head["n"], head["r"], head["p"]), _bound(head)
        )
    except DecryptionError as error:
        raise KeyFileError("The passphrase does not open this key file.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError("This is not a key file made by `make backup-key`, or it was damaged.") from error
    return tuple(keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES))


def write_private(target: Path, content: bytes) -> None:
    """Write a file that only its owner may read, and wait until the disk has it."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _stretched(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY_BYTES, dklen=32)


def _bound(head: dict[str, object]) -> bytes:
    return json.dumps(head, sort_keys=True).encode()
