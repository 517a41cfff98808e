"""Folders of Python packages for images: what a lock names, checked against its hashes, kept in the cache."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from workers.launcher.cache import content_key, suits
from workers.launcher.environment import patiently
from workers.launcher.progress import LauncherError, Progress, silent

# Found in no index that pip knows by itself; the CPU build is a tenth of the other one's size.
TORCH_ADVICE = (
    "PyTorch's CPU builds must be among pip's indexes (pip config set global.extra-index-url …, or "
    "PIP_EXTRA_INDEX_URL); pytorch.org names the address."
)

# Headers, static libraries and the packages' own tests: nothing imports them at run time.
LEFT_OUT_FOLDERS = (
    "torch/include",
    "torch/test",
    "torch/share",
    "pyarrow/include",
    "pyarrow/tests",
    "pandas/tests",
    "bin",
)
LEFT_OUT_FILES = "*.a"


def key(lock: Path, python: str) -> str:
    """Named for all that decides what is in such a folder."""
    return content_key(lock, extra=f"{suits(python)} {LEFT_OUT_FOLDERS} {LEFT_OUT_FILES}")


def site(lock: Path, python: str, folder: Path, on_progress: Progress = silent) -> Path:
    """A folder that PYTHONPATH can name with every package of `lock`, for the Python of an image (like "3.11").

    No package's own code runs. Raises LauncherError with pip's words.
    """
    # A lock of the repository's own folder has its name; that folder's name is the checkout's affair.
    name = lock.parent.name if lock.stem == "requirements" else lock.stem
    target = folder / f"site-{name}-{key(lock, python)}"
    if target.exists():
        return target
    draft = folder / f".partial-{target.name}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    on_progress(f"unpacking what {lock.parent.name}/{lock.name} names")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(draft)]
    command += ["--implementation", "cp", "--python-version", python, "-r", str(lock)]
    done = patiently(command)
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        said = (done.stderr or done.stdout).strip()
        advice = f"\n{TORCH_ADVICE}" if "torch" in said else ""
        last = "\n".join(said.splitlines()[-5:])
        raise LauncherError(f"pip could not bring the packages of {lock}:\n{last}{advice}")
    _thin(draft)
    try:
        draft.rename(target)
    except OSError:  # somebody else was first
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _thin(folder: Path) -> None:
    for name in LEFT_OUT_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.rglob(LEFT_OUT_FILES):
        path.unlink()
