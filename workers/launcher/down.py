"""`make down`: the supervisor, then this installation's containers, then a Docker daemon that we brought."""

from __future__ import annotations

import contextlib
from pathlib import Path

import docker

from webapp.foundation import paths
from workers import shut_down
from workers.launcher import docker_engine, instance, own_dockerd
from workers.launcher.progress import LauncherError, Steps


def down() -> int:
    """Stop all that `make run` started, engines too; 0 also when nothing ran. Raises LauncherError."""
    steps = Steps()
    state_dir = paths.state_dir()
    if instance.holder(paths.run_dir()):
        with steps.step("Processes"):
            instance.stop_supervisor(paths.run_dir())
    engine = None
    with contextlib.suppress(LauncherError):
        engine = docker_engine.find_engine(state_dir)
    if engine is None:
        steps.note("No Docker engine answers: no model engine runs.")
        return 0
    client = docker_engine.connect(engine.url)
    kept = state_dir / "installation"
    installation = kept.read_text().strip() if kept.exists() else docker_engine.installation_id(client)
    if installation:
        with steps.step("Model engines") as progress:
            stopped = docker_engine.stop_containers(client, installation, progress)
            shut_down.note(stopped, docker_engine.installation_containers(client, installation))
    if engine.is_ours and own_dockerd.running_pid(state_dir):
        _stop_own(steps, client, state_dir=state_dir)
    return 0


def _stop_own(steps: Steps, client: docker.DockerClient, *, state_dir: Path) -> None:
    others = client.containers.list()
    if others:
        # With live-restore they would go on without a daemon to stop them.
        steps.note(f"The Docker engine stays up: {', '.join(str(other.name) for other in others)} are not ours.")
        return
    with steps.step("Docker engine that Modelyard brought"):
        own_dockerd.stop(state_dir)
