"""A Docker engine to work with: the one that is named, the one that is there, or one that we bring.

An engine of ours runs in a session of its own outside the supervisor with live-restore and without the userland
proxy, so that model engines outlive Ctrl-C; only `make down` stops it.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException, NotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

from workers.launcher import own_dockerd, packages
from workers.launcher.progress import LauncherError, Progress, silent

DEFAULT_SOCKET = Path("/var/run/docker.sock")
INSTALLATION_VOLUME = "modelyard-installation"
INSTALLATION_LABEL = "modelyard.installation"
CALL_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answered: its address (DOCKER_HOST's form) and whether it is one that we brought."""

    url: str
    is_ours: bool


def connect(url: str, timeout_s: int = CALL_TIMEOUT_S) -> docker.DockerClient:
    """A client for `url`, API version negotiated."""
    return docker.DockerClient(base_url=url, timeout=timeout_s, use_ssh_client=url.startswith("ssh://"))


def ensure_engine(state_dir: Path, on_progress: Progress = silent, environ: Mapping[str, str] = os.environ) -> Engine:
    """An engine that answers; installed and started when there is none and this is root on Debian or Ubuntu.

    Raises LauncherError with the exact commands to run where it may not do that itself.
    """
    found = find_engine(state_dir, environ)
    if found:
        return found
    if os.geteuid() != 0:
        raise LauncherError(f"No Docker engine answers, and only root can start one. Run:\n\n{_commands()}")
    if not shutil.which("dockerd"):
        if not packages.is_debian_like():
            raise LauncherError(
                "No Docker engine answers, and this is neither Debian nor Ubuntu: install Docker as "
                "https://docs.docker.com/engine/install/ says, or set DOCKER_HOST to an engine elsewhere."
            )
        packages.install(["docker.io", "iptables", "iproute2"], "a Docker engine to run models in", on_progress)
    if packages.has_systemd():
        own_dockerd.start_by_systemd(DEFAULT_SOCKET, on_progress)
        return Engine(f"unix://{DEFAULT_SOCKET}", is_ours=False)
    own_dockerd.start(state_dir, on_progress)
    return Engine(own_dockerd.url(state_dir), is_ours=True)


def find_engine(state_dir: Path, environ: Mapping[str, str] = os.environ) -> Engine | None:
    """The engine that answers: DOCKER_HOST, one that we brought and that still runs, the default socket.

    None without any. Raises LauncherError when DOCKER_HOST names one that does not answer, or the default socket
    refuses this user.
    """
    named = environ.get("DOCKER_HOST")
    if named:
        refusal = why_silent(named)
        if refusal:
            raise LauncherError(
                f"DOCKER_HOST is {named}, but no Docker engine answers there: {refusal}\n"
                "Start that engine, or unset DOCKER_HOST to use this machine's own."
            )
        return Engine(named, is_ours=named == own_dockerd.url(state_dir))
    ours = own_dockerd.url(state_dir)
    if own_dockerd.socket_path(state_dir).exists() and why_silent(ours) is None:
        return Engine(ours, is_ours=True)
    if DEFAULT_SOCKET.exists():
        url = f"unix://{DEFAULT_SOCKET}"
        refusal = why_silent(url)
        if refusal is None:
            return Engine(url, is_ours=False)
        if not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK):
            raise LauncherError(
                f"There is a Docker engine at {DEFAULT_SOCKET}, but you may not use it. Run, then sign in again:\n\n"
                "    sudo usermod -aG docker $USER"
            )
    return None


def why_silent(url: str) -> str | None:
    """None when an engine answers at `url`, else the reason in one line."""
    if url.startswith("unix://"):
        # Asked first by hand: the SDK leaves the socket of a failed connection open.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(url.removeprefix("unix://"))
            except OSError as error:
                return str(error.strerror or error)
    try:
        client = connect(url, timeout_s=10)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, RequestException, OSError, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def _commands() -> str:
    install = "    sudo apt-get update\n    sudo apt-get install -y --no-install-recommends docker.io iptables\n"
    start = "    sudo systemctl enable --now docker\n" if packages.has_systemd() else "    sudo dockerd &\n"
    join = "    sudo usermod -aG docker $USER        # then sign in again"
    return ("" if shutil.which("dockerd") else install) + start + join


# --- what belongs to this installation ---


def ensure_installation_id(client: docker.DockerClient, wanted: str | None) -> str:
    """This installation's id, kept as a label of a Docker volume beside the database.

    `wanted` is what the database knows; it wins. Without it (a new or lost database) the volume's id is taken up
    again, so that the containers of before are adopted. A new id is a random UUID.
    """
    known = installation_id(client)
    if known is None:
        volume = client.volumes.create(INSTALLATION_VOLUME, labels={INSTALLATION_LABEL: wanted or str(uuid.uuid4())})
        # Two first runs at once: the engine made one volume and answers both with its label.
        known = str(volume.attrs["Labels"][INSTALLATION_LABEL])
    return wanted or known


def installation_id(client: docker.DockerClient) -> str | None:
    """The id kept on this engine, or None."""
    try:
        volume = client.volumes.get(INSTALLATION_VOLUME)
    except NotFound:
        return None
    label = (volume.attrs.get("Labels") or {}).get(INSTALLATION_LABEL)
    return str(label) if label else None


def stop_containers(client: docker.DockerClient, installation: str, on_progress: Progress = silent) -> list[str]:
    """Stop every running container of this installation, each with its own stop timeout; their ids."""
    running = client.containers.list(filters={"label": f"{INSTALLATION_LABEL}={installation}"})
    names = ", ".join(str(container.name) for container in running)
    if running:
        on_progress(f"stopping {names}")
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(_stop, running))
    return [str(container.id) for container in running]


def installation_containers(client: docker.DockerClient, installation: str) -> list[str]:
    """The ids of this installation's containers, those that have ended too."""
    rows = client.api.containers(all=True, filters={"label": f"{INSTALLATION_LABEL}={installation}"})
    return [str(row["Id"]) for row in rows]


def _stop(container: Container) -> None:
    try:
        container.stop()
    except NotFound:
        return
