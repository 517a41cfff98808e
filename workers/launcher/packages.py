"""The machine's package manager, as far as the launcher may use it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from workers.launcher.progress import LauncherError, Progress, silent


def is_debian_like() -> bool:
    """True where apt-get installs packages."""
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def has_systemd() -> bool:
    """True when systemd runs this machine (being installed is not enough)."""
    return Path("/run/systemd/system").is_dir()


def install(names: list[str], purpose: str, on_progress: Progress = silent) -> None:
    """Install Debian packages as root, after saying so. Raises LauncherError with apt's last lines."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    print(f"Installing {purpose}: {' '.join(command)}", flush=True)
    on_progress("reading the package lists")
    # A machine straight from an image has lists that are old or missing; that some source fails need not matter.
    _run(["apt-get", "update"])
    on_progress(f"installing {' '.join(names)}")
    failed = _run(command)
    if failed:
        raise LauncherError(f"`{' '.join(command)}` failed:\n{failed}\nInstall {' '.join(names)}, then run this again.")


def _run(command: list[str]) -> str | None:
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
