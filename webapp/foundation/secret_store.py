"""Keys for every purpose, derived from one master key that never leaves its file."""

import base64
import hashlib
import hmac
import os
import secrets as random_source
from functools import cache
from pathlib import Path

from webapp.foundation.paths import secrets_dir


class MasterKeyError(Exception):
    """The master key file is missing its key or cannot be read."""


def derive(purpose: str, length: int = 32) -> bytes:
    """A key of `length` bytes (at most 8160) for one purpose. Same purpose, same key, for ever.

    HKDF-SHA256 with an empty salt (RFC 5869), spelled out on the standard library: a gateway process would pay
    several MB of memory for importing `cryptography` here. tests/foundation/test_secret_store.py compares the two.
    """
    if not 0 < length <= 255 * 32:
        raise ValueError(f"HKDF-SHA256 gives 1 to 8160 bytes, not {length}")
    pseudo_random_key = hmac.digest(bytes(32), _master_key(), hashlib.sha256)
    info = b"modelyard:" + purpose.encode()
    output, block, counter = b"", b"", 0
    while len(output) < length:
        counter += 1
        block = hmac.digest(pseudo_random_key, block + info + bytes([counter]), hashlib.sha256)
        output += block
    return output[:length]


def setting(name: str) -> str | None:
    """A setting that may hold a secret: the variable itself, or the content of the file that `<name>_FILE` names.

    Files are how container engines hand over secrets; the variables of a container stand in `docker inspect`.
    """
    file = os.environ.get(f"{name}_FILE")
    if os.environ.get(name) or not file:
        return os.environ.get(name) or None
    return Path(file).read_text().strip() or None


@cache
def _master_key() -> bytes:
    path = secrets_dir() / "master.key"
    if not path.exists():
        _create(path)
    text = path.read_text().strip()
    try:
        key = base64.urlsafe_b64decode(text)
    except ValueError as error:
        raise MasterKeyError(f"{path} does not hold a base64 key: restore that file from your backup") from error
    if len(key) != 32:
        raise MasterKeyError(f"{path} holds {len(key)} bytes instead of 32: restore that file from your backup")
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
