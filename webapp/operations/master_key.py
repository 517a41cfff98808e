"""The master key outside its folder: recognised by a fingerprint, carried in a file that a passphrase opens.

No Django here: after the loss of everything the key must be back before any setting is read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

from webapp.foundation.crypto import NONCE_BYTES, DecryptionError, decrypt_bytes, encrypt_bytes
from webapp.foundation.paths import secrets_dir

FORMAT = "modelyard master key, version 1"
# RFC 7914; 64 MiB and about a fifth of a second per guess.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 16, 8, 1
SCRYPT_MEMORY_BYTES = 128 * 1024 * 1024
SHORTEST_PASSPHRASE = 12


class KeyFileError(Exception):
    """The key file cannot be made or opened; the text says why and what to do."""


def path() -> Path:
    """Where the running processes look for it."""
    return secrets_dir() / "master.key"


def read() -> bytes | None:
    """The 32 bytes, or None when this installation has no key yet. Never makes one. Raises KeyFileError."""
    try:
        key = base64.urlsafe_b64decode(path().read_text().strip())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise KeyFileError(f"{path()} does not hold a base64 key.") from error
    if len(key) != 32:
        raise KeyFileError(f"{path()} holds {len(key)} bytes instead of 32.")
    return key


def fingerprint(key: bytes) -> str:
    """A name for the key that says nothing about it: one HMAC-SHA256 of 256 random bits."""
    return hmac.digest(key, b"modelyard:key-fingerprint", hashlib.sha256)[:12].hex()


def write(key: bytes) -> None:
    """Put the key where the processes look for it, readable by its owner alone."""
    path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path().with_name(f".master-{os.getpid()}")
    write_private(draft, base64.urlsafe_b64encode(key) + b"\n")
    draft.replace(path())


def export(key: bytes, passphrase: str) -> bytes:
    """The key file: JSON, sealed with AES-256-GCM under scrypt(passphrase). Raises KeyFileError."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise KeyFileError(f"Choose a passphrase of at least {SHORTEST_PASSPHRASE} characters.")
    salt = os.urandom(16)
    head = {"format": FORMAT, "fingerprint": fingerprint(key), "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}
    stretched = _stretched(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    encrypted = encrypt_bytes(key, stretched, _bound(head))
    nonce, sealed = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
    body = {name: base64.b64encode(value).decode() for name, value in (("salt", salt), ("nonce", nonce))}
    return json.dumps({**head, **body, "sealed": base64.b64encode(sealed).decode()}, indent=1).encode() + b"\n"


def open_key_file(document: bytes, passphrase: str) -> bytes:
    """The key in a key file. Raises KeyFileError for a wrong passphrase or a damaged file."""
    try:
        fields = json.loads(document)
        if fields["format"] != FORMAT:
            raise ValueError(fields["format"])
        head = {name: fields[name] for name in ("format", "fingerprint", "n", "r", "p")}
        # A file may not make us spend more than our own would.
        if (head["n"], head["r"], head["p"]) != (SCRYPT_N, SCRYPT_R, SCRYPT_P):
            raise ValueError("unknown scrypt parameters")
        salt, nonce, sealed = (base64.b64decode(fields[name], validate=True) for name in ("salt", "nonce", "sealed"))
        key = decrypt_bytes(nonce + sealed, _stretched(passphrase, salt, head["n"], head["r"], head["p"]), _bound(head))
    except DecryptionError as error:
        raise KeyFileError("The passphrase does not open this key file.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError("This is not a key file made by `make backup-key`, or it was damaged.") from error
    return key


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
