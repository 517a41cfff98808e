"""Keys for every purpose, derived from master keys that never leave their file; and settings that hold a secret."""

import hashlib
import hmac
import os
from functools import lru_cache
from pathlib import Path

from webapp.foundation import key_ring


def derive(purpose: str, length: int = 32) -> bytes:
    """A key of `length` bytes (at most 8160) for one purpose, from the master key that writes."""
    return derived(key_ring.current()[0].secret, purpose, length)


def derive_each(purpose: str) -> tuple[bytes, ...]:
    """Keys of 32 bytes that may be believed for this purpose: of the master key that writes, then of older ones."""
    return tuple(derived(key.secret, purpose) for key in key_ring.current())


def of_sessions() -> str:
    """Django's secret: of the oldest master key, so that people stay signed in until that one is dropped.

    Django can sign with one and believe others, but it then gives a session another id, and whatever the page asked in
    that moment comes as a stranger's.
    """
    return derived(key_ring.current()[-1].secret, "django").hex()


@lru_cache(maxsize=64)
def derived(master: bytes, purpose: str, length: int = 32) -> bytes:
    """HKDF-SHA256 with an empty salt (RFC 5869): same master key, same purpose, same key.

    Spelled out on the standard library: a gateway process would pay several MB of memory for importing `cryptography`
    here. tests/foundation/test_secret_store.py compares the two.
    """
    if not 0 < length <= 255 * 32:
        raise ValueError(f"HKDF-SHA256 gives 1 to 8160 bytes, not {length}")
    pseudo_random_key = hmac.digest(bytes(32), master, hashlib.sha256)
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
