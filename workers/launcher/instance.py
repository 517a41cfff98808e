"""One supervisor per state folder, and a port of its own: both are asked before anything starts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import IO

from workers.launcher.progress import LauncherError

LOCK_WAIT_S = 5.0


def take_lock(run_dir: Path) -> IO[str]:
    """Hold this state folder until the file is closed. Raises LauncherError naming who holds it.

    Waits up to 5 s: after a kill the guard holds the lock until the last process of before is gone.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    run_dir.chmod(0o700)
    file = (run_dir / "supervisor.lock").open("a+", encoding="utf-8")
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            pid = holder(run_dir)
            if pid is not None or time.monotonic() > deadline:
                file.close()
                who = f"process {pid}" if pid else "a process that is ending"
                raise LauncherError(
                    f"Modelyard already runs here ({who}, state folder {run_dir.parent}).\n"
                    "Stop it with Ctrl-C there or `make down` here, or give this one its own folder and port:\n\n"
                    "    MODELYARD_STATE_DIR=/some/folder MODELYARD_PORT=8001 make run"
                ) from None
            time.sleep(0.1)
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "started_at": time.time()}))
    file.flush()
    return file


def holder(run_dir: Path) -> int | None:
    """The process id of the supervisor that runs on this state folder, or None."""
    try:
        with (run_dir / "supervisor.lock").open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                pid = int(json.loads(file.read())["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError):
        return None
    return pid


def stop_supervisor(run_dir: Path, limit_s: float = 60.0) -> bool:
    """Ask the running supervisor to stop and wait for it; True when there was one. Raises LauncherError."""
    pid = holder(run_dir)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + limit_s
    while holder(run_dir) == pid:
        if time.monotonic() > deadline:
            raise LauncherError(f"The supervisor (process {pid}) does not stop. End it with: kill -9 {pid}")
        time.sleep(0.1)
    return True


def check_port(address: str, port: int) -> None:
    """Raise LauncherError when we could not listen there, saying who does if that can be seen."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            raise LauncherError(_port_message(address, port, error)) from error


def _port_message(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = listener(port)
        who = f"{owner[1]} (process {owner[0]})" if owner else "another process"
        return (
            f"Port {port} on {address} is taken by {who}.\n"
            f"Stop it, or choose another port: MODELYARD_PORT={port + 1} make run"
        )
    if error.errno == errno.EACCES:
        return f"Only root may listen on port {port}. Choose one above 1023: MODELYARD_PORT=8000 make run"
    return f"Cannot listen on {address} port {port}: {error.strerror}. Check MODELYARD_BIND and MODELYARD_PORT."


def listener(port: int) -> tuple[int, str] | None:
    """(process id, name) of who listens on a TCP port, as far as /proc shows it to this user."""
    wanted = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                # State 0A is LISTEN.
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    wanted.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(entry.readlink()) in wanted for entry in (folder / "fd").iterdir()):
                return int(folder.name), (folder / "comm").read_text().strip()
    return None


def is_loopback(bind: str) -> bool:
    """Whether only this machine reaches what listens on that address. Names other than localhost count as public."""
    if bind == "localhost":
        return True
    try:
        return ipaddress.ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return False
