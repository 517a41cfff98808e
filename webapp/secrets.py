"""Keys for every purpose, derived from one master key that never leaves its file."""

import base64
import os
import secrets as random_source
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from webapp.paths import secrets_dir


class MasterKeyError(Exception):
    """The master key file is missing its key or cannot be read."""


def derive(purpose: str, length: int = 32) -> bytes:
    """A key of `length` bytes for one purpose (HKDF-SHA256, RFC 5869). Same purpose, same key, for ever."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"modelyard:" + purpose.encode()).derive(
        _master_key()
    )


@cache
def _master_key() -> bytes:
    path = secrets_dir() / "master.key"
    if not path.exists():
        _create(path)
    text = path.read_text().strip()
    try:
        key = base64.urlsafe_b64decode(text)
    except ValueError as error:
        raise MasterKeyError(f"{path} does not hold a base64 key: restore it from `make backup-key`") from error
    if len(key) != 32:
        raise MasterKeyError(f"{path} holds {len(key)} bytes instead of 32: restore it from `make backup-key`")
    return key


def _create(path: Path) -> None:
    """Write a new key so that two processes starting at once agree on one: only the first link succeeds."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".master-{os.getpid()}-{random_source.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.urlsafe_b64encode(random_source.token_bytes(32)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
