"""Folders of Python packages for images: what a lock names, checked against its hashes, kept in the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from workers.launcher.cache import content_key
from workers.launcher.progress import LauncherError, Progress, silent

# Found in no index that pip knows by itself; the CPU build is a tenth of the other one's size.
TORCH_ADVICE = (
    "PyTorch's CPU builds must be among pip's indexes (pip config set global.extra-index-url …, or "
    "PIP_EXTRA_INDEX_URL); pytorch.org names the address."
)


def site(lock: Path, python: str, folder: Path, on_progress: Progress = silent) -> Path:
    """A folder that PYTHONPATH can name with every package of `lock`, for the Python of an image (like "3.11").

    No package's own code runs. Raises LauncherError with pip's words.
    """
    target = folder / f"site-{lock.parent.name}-{content_key(lock, extra=python)}"
    if target.exists():
        return target
    draft = folder / f".partial-{target.name}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    on_progress(f"unpacking what {lock.parent.name}/{lock.name} names")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(draft)]
    command += ["--implementation", "cp", "--python-version", python, "-r", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True)
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
    """Remove what nothing imports at run time: headers, static libraries and the packages' own tests."""
    for name in (
        "torch/include",
        "torch/test",
        "torch/share",
        "pyarrow/include",
        "pyarrow/tests",
        "pandas/tests",
        "bin",
    ):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.rglob("*.a"):
        path.unlink()
