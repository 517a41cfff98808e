"""The last snapshot on disk, encrypted, so that a gateway that starts while everything else is down still serves.

AES-256-GCM under a key derived from a master key: one file, format byte + the master key's id + nonce + ciphertext,
mode 0600.
"""

import contextlib
import fcntl
import os
import secrets as random_source
from collections.abc import Iterator
from pathlib import Path

from webapp.foundation import crypto, key_ring, secret_store
from webapp.foundation.crypto import DecryptionError

_FORMAT = b"\x02"
# Without the id: what earlier versions wrote.
_UNNAMED = b"\x01"
_ID_BYTES = 12
_PLACE = b"modelyard gateway snapshot"


def save(path: Path, document: bytes) -> None:
    """Replace the file at once or not at all. Raises OSError, MasterKeyError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path):
        _save(path, document)


def renew(path: Path) -> None:
    """Encrypt the file under the master key that writes. One that no key opens stays: a gateway replaces it."""
    if not path.exists():
        return
    # A gateway may remove it meanwhile.
    with _locked(path), contextlib.suppress(DecryptionError, FileNotFoundError):
        document = None if _is_current(path.read_bytes()) else load(path)
        if document is not None:
            _save(path, document)


def remove(path: Path) -> None:
    """Never in the midst of a renewal, which would bring the file back."""
    if path.exists():
        with _locked(path):
            path.unlink(missing_ok=True)


def _is_current(encrypted: bytes) -> bool:
    return encrypted.startswith(_FORMAT + bytes.fromhex(key_ring.current()[0].id))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A renewed file must not replace a newer one that a gateway wrote meanwhile."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _save(path: Path, document: bytes) -> None:
    key = key_ring.writing()
    encrypted = _FORMAT + bytes.fromhex(key.id) + crypto.encrypt_bytes(document, _derived(key), _PLACE)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{random_source.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encrypted)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and (owner := path.stat()).st_uid != os.geteuid():
            os.chown(draft, owner.st_uid, owner.st_gid)  # root renews it, the gateways read it
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
    if encrypted[:1] not in (_FORMAT, _UNNAMED):
        raise DecryptionError(f"{path} is not a snapshot of this version")
    start = 1 if encrypted[:1] == _UNNAMED else 1 + _ID_BYTES
    name = encrypted[1:start].hex()
    for key in key_ring.current():
        if name in ("", key.id):
            with contextlib.suppress(DecryptionError):
                return crypto.decrypt_bytes(encrypted[start:], _derived(key), _PLACE)
    raise DecryptionError(f"{path} was damaged, or encrypted under another master key")


def _derived(key: key_ring.MasterKey) -> bytes:
    return secret_store.derived(key.secret, "gateway-snapshot")
