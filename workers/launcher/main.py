"""`make run`: prepare, then supervise every process until Ctrl-C.

This process stays, so it is kept small: what needs Docker's SDK or Django runs in children that end.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from webapp.foundation import paths
from workers.launcher import instance, processes
from workers.launcher.logs import Logs
from workers.launcher.progress import STARTED, LauncherError
from workers.launcher.supervisor import Supervisor

REPOSITORY = str(paths.REPOSITORY)


def run() -> int:
    """Run until told to stop; 0 after Ctrl-C. Raises LauncherError with nothing left running."""
    wrong = processes.check_state_dir(paths.state_dir())
    if wrong:
        raise LauncherError(wrong)
    if not paths.state_dir().exists():
        # Keys' hashes, sessions and logs are nobody else's to read.
        paths.state_dir().mkdir(mode=0o700, parents=True)
    # Every step shows the time since `make run`, whichever process does it.
    os.environ.setdefault(STARTED, str(time.time()))
    lock = instance.take_lock(paths.run_dir())
    try:
        bind = os.environ.get("MODELYARD_BIND") or "127.0.0.1"
        instance.check_port(bind, _port())
        prepared = _prepare()
        settings = processes.RunSettings.from_environ(os.environ, prepared["docker_host"], prepared["valkey"])
        asyncio.run(_supervise(settings))
    finally:
        lock.close()
    return 0


def _port() -> int:
    text = os.environ.get("MODELYARD_PORT") or "8000"
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise LauncherError(f"MODELYARD_PORT is {text!r}: give a number from 1 to 65535.")
    return int(text)


def _prepare() -> dict[str, Any]:
    """Run the preparing steps in a process of their own; what they found."""
    result = paths.run_dir() / "prepared.json"
    result.unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-m", "workers.launcher", "prepare"], cwd=REPOSITORY)
    if done.returncode != 0 or not result.exists():
        # Its own message stands above.
        raise LauncherError("Nothing was started.")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


async def _supervise(settings: processes.RunSettings) -> None:
    specs = processes.table(settings)
    names = [spec.name for spec in specs]
    # The password that is shown once would be out of sight after a minute of the processes' own lines.
    logs = Logs(paths.log_dir(), names, echo=os.environ.get("MODELYARD_CONSOLE", "steps") == "all")
    supervisor = Supervisor(specs, logs, cwd=REPOSITORY)
    state = paths.run_dir() / "ready.json"
    state.unlink(missing_ok=True)

    async def all_ready() -> None:
        _write(state, supervisor.states())

    async def first_run() -> None:
        env = {**os.environ, "DOCKER_HOST": settings.docker_host, "MODELYARD_URL": settings.url}
        command = [sys.executable, "-u", "-m", "workers.launcher", "first-run"]
        if await supervisor.run_once(command, env, logs.plain) != 0:
            raise LauncherError("Modelyard did not get as far as an answer: see the message above.")

    try:
        # Beside, because images take longest: they are made while the processes start.
        await supervisor.run(all_ready, beside=first_run)
    finally:
        state.unlink(missing_ok=True)
        logs.close()


def _write(path: Path, content: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)
