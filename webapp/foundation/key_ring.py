"""The master keys in their file: one that writes and, while it is being rotated in, older ones that still read.

A line per key, the one that writes first: 32 bytes in base64 and, where it is known, since when it writes (ISO 8601).
The file is only ever replaced as a whole. Every process looks at it whenever it needs a key, so that a new key is known
everywhere at once and none goes on writing with an old one.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets as random_source
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from webapp.foundation.paths import secrets_dir


class MasterKeyError(Exception):
    """The master key file is missing its key or cannot be read."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """32 bytes, and a name that says nothing about them: one HMAC-SHA256 of 256 random bits."""

    secret: bytes = field(repr=False)
    since: datetime | None = None
    id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", fingerprint(self.secret))


Ring = tuple[MasterKey, ...]
_Seen = tuple[str, int, int, int]

_known: tuple[_Seen, Ring] | None = None


def fingerprint(secret: bytes) -> str:
    """24 hexadecimal digits, by which key files, backups and encrypted texts name a key."""
    return hmac.digest(secret, b"modelyard:key-fingerprint", hashlib.sha256)[:12].hex()


def path() -> Path:
    return secrets_dir() / "master.key"


def current() -> Ring:
    """The keys as they are now, the one that writes first; a first one is made where there is none.

    A file that vanished or broke while we run changes nothing for those who read: nobody may start another key by
    accident. Raises MasterKeyError when there never was a sound one.
    """
    try:
        return _looked_at()
    except (MasterKeyError, OSError):
        known = _remembered(path())
        if known is None:
            raise
        return known[1]


def writing() -> MasterKey:
    """The key to encrypt under. Raises MasterKeyError when the file cannot be read: what a process remembers may be a
    key that is about to be dropped."""
    try:
        return _looked_at()[0]
    except OSError as error:
        raise MasterKeyError(f"{path()} cannot be read: {error.strerror}") from error


def _looked_at() -> Ring:
    """As of now; read only when the file is another one than at the last look."""
    global _known
    where = path()
    known = _remembered(where)
    try:
        about = where.stat()
    except FileNotFoundError:
        if known is not None:
            return known[1]
        _create(where)
    else:
        if known is not None and known[0] == _seen(where, about):
            return known[1]
    with where.open("rb") as file:
        _known = (_seen(where, os.fstat(file.fileno())), _parsed(file.read()))
    return _known[1]


def _remembered(where: Path) -> tuple[_Seen, Ring] | None:
    return _known if _known is not None and _known[0][0] == str(where) else None


def stored() -> Ring:
    """What the file holds; nothing where there is none. Never makes a key. Raises MasterKeyError."""
    try:
        return _parsed(path().read_bytes())
    except FileNotFoundError:
        return ()


def store(keys: Sequence[MasterKey]) -> None:
    """Put these keys into the file, all at once, readable by its owner alone; the owner stays who it was, so that the
    processes can read what root has changed. Raises OSError."""
    where = path()
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = where.with_name(f".master-{os.getpid()}-{random_source.token_hex(4)}")
    try:
        _write(draft, b"".join(map(_line, keys)))
        if where.exists() and (owner := where.stat()).st_uid != os.geteuid():
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(where)
        # The rename itself must survive a power cut: rows are encrypted under the new key from now on.
        folder = os.open(where.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink(missing_ok=True)


def new() -> MasterKey:
    """A key nobody has seen, which begins to write now."""
    return MasterKey(random_source.token_bytes(32), datetime.now(UTC).replace(microsecond=0))


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Alone in changing the file, on this machine."""
    path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The folder itself: a file of its own would be root's when root was first, and closed to the processes.
    folder = os.open(path().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _seen(where: Path, about: os.stat_result) -> _Seen:
    return str(where), about.st_ino, about.st_mtime_ns, about.st_size


def _parsed(content: bytes) -> Ring:
    lines = content.decode("ascii", "replace").strip().splitlines() or [""]
    return tuple(_key(line) for line in lines)


def _key(line: str) -> MasterKey:
    text, _, since = line.partition(" ")
    try:
        secret = base64.urlsafe_b64decode(text)
        began = datetime.fromisoformat(since.strip()) if since.strip() else None
    except ValueError as error:
        raise MasterKeyError(f"{path()} does not hold a base64 key: restore that file from your backup") from error
    if len(secret) != 32:
        raise MasterKeyError(f"{path()} holds {len(secret)} bytes instead of 32: restore that file from your backup")
    return MasterKey(secret, began)


def _line(key: MasterKey) -> bytes:
    since = f" {key.since.isoformat()}".encode() if key.since else b""
    return base64.urlsafe_b64encode(key.secret) + since + b"\n"


def _create(where: Path) -> None:
    """Write a first key so that two processes starting at once agree on one: only the first link succeeds."""
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = where.with_name(f".master-{os.getpid()}-{random_source.token_hex(4)}")
    _write(draft, _line(MasterKey(random_source.token_bytes(32))))
    try:
        os.link(draft, where)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _write(draft: Path, content: bytes) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
