"""Makes .venv from a hash-locked list; runs under the system's Python with the standard library alone.

Usage: python3 workers/launcher/environment.py [--dev]
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
STAMP = "modelyard-lock"
# pip asks again for a connection, and neither for a file that broke off nor for one that an archive sent in half.
TRIES = 3
PAUSE_S = 3.0
BROKEN = re.compile(
    r"IncompleteRead|ConnectionError|Connection(Reset|Aborted|Broken)|connection was|timed out|TimeoutError"
    r"|ProtocolError|Temporary failure|Max retries|DO NOT MATCH THE HASHES|Hash mismatch|incomplete-download|BadZipFile"
    r"|50[0234] "
    r"|Failed to (fetch|download)|error sending request",
    re.IGNORECASE,
)


class Incomplete(Exception):
    """What a person must do first."""


def main(arguments: list[str]) -> int:
    """Bring .venv up to date with its lock; 0 when it is, 1 with a message when something is missing."""
    lock = ROOT / ("requirements-dev.lock" if "--dev" in arguments else "requirements.lock")
    try:
        check_python(sys.version_info[:2])
        ensure(ROOT / ".venv", lock)
        write_command(ROOT / ".venv", ROOT)
    except Incomplete as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def check_python(version: tuple[int, ...]) -> None:
    """Raise when this Python is too old."""
    if version < OLDEST:
        found = ".".join(map(str, version))
        raise Incomplete(
            f"Modelyard needs Python 3.11 or newer; this is {found} ({sys.executable}).\n"
            "Install a newer one and name it: make run PYTHON=python3.11"
        )


def ensure(folder: Path, lock: Path) -> bool:
    """Make or update the environment in `folder`; False when the lock has not changed since the last time."""
    wanted = fingerprint(lock)
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() in (wanted, fingerprint(lock.with_name("requirements-dev.lock"))):
        # What development needs includes what running needs.
        return False
    began = time.monotonic()
    # An environment half made, or of a Python that is gone, is made again.
    stamp.unlink(missing_ok=True)
    uv = shutil.which("uv")
    make_venv(folder, uv)
    print(f"Installing {lock.name} into {folder.name} (once, some minutes without uv) ...", flush=True)
    try:
        _run(install_command(folder, lock, uv), "installing the locked packages", began)
    except Incomplete:
        if not uv:
            raise
        # pip knows mirrors and certificates from its own settings, which uv does not read.
        _run(install_command(folder, lock, None), "installing the locked packages with pip", began)
    stamp.write_text(wanted)
    print(f"Environment ready in {time.monotonic() - began:.0f} s", flush=True)
    return True


def write_command(folder: Path, root: Path) -> Path:
    """Make `.venv/bin/modelyard`, which runs the checkout's own command line from anywhere.

    Installing the checkout as a package would need a build tool from the network for the same.
    """
    command = folder / "bin" / "modelyard"
    text = (
        f"#!{folder / 'bin' / 'python'}\n"
        f"import sys\n\nsys.path.insert(0, {str(root)!r})\n"
        "from webapp.interfaces.cli.main import main\n\nmain()\n"
    )
    if not command.exists() or command.read_text() != text:
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(text)
        command.chmod(0o755)
    return command


def fingerprint(lock: Path) -> str:
    """The lock's content and this Python's version: either change makes the environment again."""
    if not lock.exists():
        raise Incomplete(f"{lock} is missing: the checkout is incomplete.")
    return hashlib.sha256(lock.read_bytes() + repr(sys.version_info[:2]).encode()).hexdigest()


def make_venv(folder: Path, uv: str | None) -> None:
    """Make an empty environment unless a working one is there. Raises with the exact command when it cannot."""
    if works(folder):
        # Processes may be running from it: packages are replaced one by one, never all at once.
        return
    missing = missing_module()
    if missing is None:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], "python3 -m venv")
    elif uv:
        _run([uv, "venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(folder)], "uv venv")
    else:
        raise Incomplete(venv_advice(missing))


def works(folder: Path) -> bool:
    """True when the environment's Python starts, is this version, and has pip."""
    question = "import sys, pip; print(sys.version_info[:2])"
    try:
        answer = subprocess.run([str(folder / "bin" / "python"), "-c", question], capture_output=True, text=True)
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == str(sys.version_info[:2])


def missing_module() -> str | None:
    """The module without which no environment can be made, or None. Debian leaves ensurepip out of python3."""
    for name in ("venv", "ensurepip"):
        # In a process of its own: importing ensurepip here would be enough to change what is measured.
        if subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode != 0:
            return name
    return None


def venv_advice(missing: str) -> str:
    """What to install on this system when `missing` is not there."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    if Path("/etc/debian_version").exists():
        how = f"    {sudo}apt-get update && {sudo}apt-get install -y python3-venv"
    else:
        how = "    (your system's package with Python's venv and ensurepip; Debian calls it python3-venv)"
    return f"Python's module `{missing}` is missing, so no environment can be made. Run, then try again:\n\n{how}"


def install_command(folder: Path, lock: Path, uv: str | None) -> list[str]:
    """The command that installs exactly what the lock names."""
    python = str(folder / "bin" / "python")
    if uv:
        # As pip does by itself. Where every process compiles for itself, each keeps a fifth more memory for it.
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--compile-bytecode"]
        return [*command, "--python", python, "-r", str(lock)]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    return [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(lock)]


def patiently(command: list[str], pause_s: float = PAUSE_S) -> "subprocess.CompletedProcess[str]":
    """Run what downloads packages, again when a download broke; the last outcome, which may be a failure."""
    for number in range(1, TRIES + 1):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode == 0 or number == TRIES or not BROKEN.search(result.stdout + result.stderr):
            return result
        print(f"  a download broke, try {number + 1} of {TRIES}", file=sys.stderr, flush=True)
        time.sleep(pause_s * number)
    raise AssertionError("unreachable")


def _run(command: list[str], what: str, began: float | None = None) -> None:
    done = threading.Event()
    if began is not None:
        threading.Thread(target=_say_elapsed, args=(done, what, began), daemon=True).start()
    try:
        result = patiently(command)
    finally:
        done.set()
    if result.returncode != 0:
        said = "\n".join((result.stderr or result.stdout).strip().splitlines()[-12:])
        raise Incomplete(f"{what} failed ({' '.join(command[:4])} ...):\n{said}")


def _say_elapsed(done: threading.Event, what: str, began: float) -> None:
    while not done.wait(5):
        print(f"  {what}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
