"""A backup as a file: .tar.gz with a manifest first, every file named in it with size and sha256, signed by the
installation's key. No Django here: an archive is judged before anything of it is believed."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from webapp.foundation import key_ring

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.hmac"
_NAME = re.compile(r"(database|usage)/[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
_CHUNK_BYTES = 1024 * 1024
_MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024
_BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError)


class ArchiveError(Exception):
    """The file is not a backup that can be used; the text says why."""


def write(target: Path, folder: Path, facts: dict[str, Any], key: bytes) -> dict[str, Any]:
    """Pack everything below `folder` into `target`, all at once or not at all; the manifest.

    The archive is readable by its owner alone: it holds password hashes.
    """
    files = {name: _described(folder / name) for name in _names(folder)}
    manifest = {"format": FORMAT, "key": key_ring.fingerprint(key), **facts, "files": files}
    text = json.dumps(manifest, indent=1, sort_keys=True).encode()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}-{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as tar:
                _put(tar, MANIFEST, len(text), io.BytesIO(text))
                signature = _signature(text, key)
                _put(tar, SIGNATURE, len(signature), io.BytesIO(signature))
                for name, about in files.items():
                    with (folder / name).open("rb") as source:
                        _put(tar, name, about["size_bytes"], source)
            file.flush()
            os.fsync(descriptor)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def manifest_of(source: Path) -> dict[str, Any]:
    """What the archive says about itself; not yet believed. Raises ArchiveError."""
    with _opened(source) as tar:
        return _manifest(tar)[0]


def unpack(source: Path, folder: Path, key: bytes) -> dict[str, Any]:
    """Check the archive as a whole and write its files below `folder`; the manifest.

    Raises ArchiveError when it was signed with another key, a file is missing, changed or not announced.
    """
    with _opened(source) as tar:
        manifest, text = _manifest(tar)
        member = tar.next()
        shown = _read(tar, member, 1024) if member is not None and member.name == SIGNATURE else b""
        if not hmac.compare_digest(shown, _signature(text, key)):
            raise ArchiveError("The archive was changed after it was made, or made with another master key.")
        left = dict(manifest["files"])
        for member in iter(tar.next, None):
            about = left.pop(member.name, None)
            if about is None or not _NAME.fullmatch(member.name):
                raise ArchiveError(f"The archive holds {member.name!r}, which its manifest does not name.")
            _extract(tar, member, folder / member.name, about)
    if left:
        raise ArchiveError(f"The archive ends too early: {', '.join(sorted(left)[:3])} missing.")
    return manifest


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size_bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _put(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    tar.addfile(info, content)


def _signature(text: bytes, key: bytes) -> bytes:
    own = hmac.digest(key, b"modelyard:backup-manifest", hashlib.sha256)
    return hmac.digest(own, text, hashlib.sha256).hex().encode()


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    """Whatever is wrong with the bytes becomes an ArchiveError."""
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|gz") as tar:
            yield tar
    except FileNotFoundError as error:
        raise ArchiveError(f"There is no file {source}.") from error
    except _BROKEN as error:
        raise ArchiveError(f"{source.name} is not a backup, or was damaged: {error}") from error


def _manifest(tar: tarfile.TarFile) -> tuple[dict[str, Any], bytes]:
    member = tar.next()
    if member is None or member.name != MANIFEST:
        raise ArchiveError("This is not a backup made by `make backup`: it does not begin with a manifest.")
    text = _read(tar, member, _MANIFEST_LIMIT_BYTES)
    manifest = json.loads(text)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArchiveError("This backup has another format: restore it with the Modelyard that made it.")
    return manifest, text


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or member.size > limit:
        raise ArchiveError(f"{member.name} in the archive is not what it should be.")
    return source.read()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, about: dict[str, Any]) -> None:
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or member.size != about["size_bytes"]:
        raise ArchiveError(f"{member.name} in the archive has another size than its manifest says.")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != about["sha256"]:
        raise ArchiveError(f"{member.name} in the archive was damaged: its sha256 is not the one in the manifest.")
