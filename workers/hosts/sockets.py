"""The sockets that engines without a network answer on: a folder for each attempt, and whether a host can have them.

The outer folder is our user's alone: what keeps others on the machine out is that they cannot get there. An attempt's
own folder is mounted into its one container. Connecting needs the right to write to the socket, which engines make for
their owner alone, so a container runs as the user who connects. Root needs no right; its engines run as a user that the
machine has no other process of, since processes of one user may look into each other.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from webapp.foundation.dialing import connect
from webapp.foundation.paths import ENGINE_SOCKET, engine_sockets
from webapp.inventory.models import OPEN_FACT, Host
from workers.hosts import place
from workers.runtime import specs
from workers.runtime.base import (
    SOCKET_PATH,
    ContainerSpec,
    ImageMissing,
    Runtime,
    RuntimeFault,
    StartRefused,
)
from workers.runtime.docker import identity_of

logger = logging.getLogger(__name__)

ROOT = 0
NO_GROUP = 65534
# Above what systemd, useradd and container tools give out, and below Docker's limit of 2^31.
ENGINES_OF_ROOT = 2_000_000_000
# How long a folder stays that no row speaks of: as long as a container would.
LEFTOVER_AFTER_S = 300
# Where in a host's facts the folder stands in which a container's socket was tried.
TRIED_FACT = "sockets_tried_in"
TRIAL = "trial"
TRIAL_S = 30.0
ENDED_FROM_OUTSIDE = (137, 143)
MEMORY_BYTES = 64 * 1024**2
TRIAL_PROGRAM = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"


def container_user() -> str:
    """Who an engine runs as, so that its socket opens to us: uid and gid."""
    return f"{ENGINES_OF_ROOT if os.geteuid() == ROOT else os.geteuid()}:{NO_GROUP}"


def make(folder: Path, user: str) -> None:
    """The folder of one attempt, for a container that runs as `user`."""
    outer = engine_sockets()
    outer.mkdir(mode=0o700, parents=True, exist_ok=True)
    outer.chmod(0o700)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == ROOT:
        os.chown(folder, *(int(part) for part in user.split(":")))


def remove(address: str) -> None:
    """The folder of this socket, when it is one of ours. One that is gone already is no error."""
    folder = Path(address).parent
    if folder.parent == engine_sockets():
        shutil.rmtree(folder, ignore_errors=True)


def sweep(known: Mapping[int, tuple[int, int]], now: float) -> int:
    """Remove what a killed worker or a lost container left behind; how many folders. `known`: generation and attempt of
    every replica that is not at rest. A later attempt than that is of a database older than its host: it stays."""
    gone = 0
    for folder in engine_sockets().glob("*.*.*"):
        with suppress(OSError, ValueError):
            replica, *run = (int(part) for part in folder.name.split("."))
            current = known.get(replica)
            is_used = current is not None and tuple(run) >= current
            if not is_used and now - folder.stat().st_mtime > LEFTOVER_AFTER_S:
                shutil.rmtree(folder)
                gone += 1
    return gone


def find(runtime: Runtime, host: Host, info: Mapping[str, Any], installation: str, is_due: bool) -> dict[str, Any]:
    """For the host's facts: why engines there need a network (empty: they need none), and where that was tried."""
    why = _why_not(host, info)
    folder = str(engine_sockets())
    is_known = host.daemon_id == identity_of(info) and host.facts.get(TRIED_FACT) == folder
    if why:
        return {OPEN_FACT: why}
    if is_known and not is_due:
        return {OPEN_FACT: host.facts.get(OPEN_FACT, ""), TRIED_FACT: folder}
    try:
        return {OPEN_FACT: _trial(runtime, host, installation), TRIED_FACT: folder}
    except ImageMissing:
        return {OPEN_FACT: ""}  # tried once the host has the image
    except RuntimeFault as fault:
        # Silence, or another worker's trial: no answer to this question.
        logger.warning("%s: a socket could not be tried: %s", host.name, fault)
        return {OPEN_FACT: host.facts.get(OPEN_FACT, "") if is_known else ""}


def _why_not(host: Host, info: Mapping[str, Any]) -> str:
    """What rules it out from the start, by what Docker says of itself."""
    if not place.is_this_machine(host, info):
        return "Its containers do not share this machine's kernel, so a socket of theirs cannot be opened here."
    security = " ".join(str(option) for option in info.get("SecurityOptions") or [])
    if "name=userns" in security or "name=rootless" in security:
        return "Docker gives users in containers other numbers, so their sockets do not open to Modelyard's user."
    return ""


def _trial(runtime: Runtime, host: Host, installation: str) -> str:
    """Have a container bind a socket, and look whether it opens to us here. Raises ImageMissing, RuntimeFault."""
    folder = engine_sockets() / f"{TRIAL}-{host.pk}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        make(folder, container_user())
        spec = ContainerSpec(
            name=specs.probe_name(installation, TRIAL),
            image=specs.TOOLS_IMAGE,
            labels=specs.labels(installation, TRIAL, host.pk, 1, 1),
            argv=("python3", "-c", TRIAL_PROGRAM, f"{SOCKET_PATH}/{ENGINE_SOCKET}"),
            user=container_user(),
            mounts={str(folder): (SOCKET_PATH, "rw")},
            memory_bytes=MEMORY_BYTES,
            pids=32,
        )
        runtime.remove(spec.name)  # what a worker left that died in its trial
        code, said = runtime.run(spec, TRIAL_S)
    except (OSError, StartRefused) as fault:
        return f"A container could not be given a folder below {folder.parent}: {fault}"[:300]
    else:
        if code in ENDED_FROM_OUTSIDE:
            raise RuntimeFault("the trial was ended from outside")
        return _opens(folder / ENGINE_SOCKET) if code == 0 else f"No socket can be made there: {said.strip()[-200:]}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _opens(path: Path) -> str:
    """Its program has ended, so "refused" is what an open way says."""
    try:
        connected = connect(str(path))
    except ConnectionRefusedError:
        return ""
    except OSError as error:
        return f"A container's socket does not open here: {error.strerror}."
    if connected is not None:
        connected.close()
    return ""
