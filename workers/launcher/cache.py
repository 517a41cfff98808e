"""Things that can be made again, kept between runs under a name made of what went in."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

from workers.launcher.environment import patiently
from workers.launcher.progress import LauncherError, Progress, silent


def content_key(*files: Path, extra: str = "") -> str:
    """A short name for the content of `files` (names and bytes) and `extra`."""
    digest = hashlib.sha256(extra.encode())
    for path in files:
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def suits(python: str) -> str:
    """What else decides which wheel of a version pip takes: the interpreter (like "3.11") and the processor."""
    return f"{python} {platform.machine()}"


def wheel(lock: Path, folder: Path, *, python: str | None = None, on_progress: Progress = silent) -> Path:
    """Download the one wheel that `lock` names, checked against its hashes by pip; from `folder` when it is there.

    `python` (like "3.11") says for which interpreter; without it the lock must name a wheel that suits every one.
    Raises LauncherError with pip's words.
    """
    target = folder / f"{lock.stem}-{content_key(lock, extra=suits(python) if python else '')}"
    ready = sorted(target.glob("*.whl"))
    if ready:
        return ready[0]
    target.mkdir(parents=True, exist_ok=True)
    on_progress(f"downloading what {lock.name} names")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(target), "-r", str(lock)]
    if python:
        command += ["--implementation", "cp", "--python-version", python]
    done = patiently(command)
    ready = sorted(target.glob("*.whl"))
    if done.returncode != 0 or not ready:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise LauncherError(f"pip could not download the wheel of {lock.name}:\n{said}")
    return ready[0]
