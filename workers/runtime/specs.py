"""From rows to container specs: who a container is (labels), what it may do, what it is given."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from webapp.engines.base import Engine, HardwareAllocation, LaunchSpec, ModelFiles
from webapp.foundation.paths import ENGINE_SOCKET
from webapp.quantisation.plan import WORK
from workers.runtime.base import (
    ENGINE_NETWORK,
    LABEL_ATTEMPT,
    LABEL_DEPLOYMENT,
    LABEL_GENERATION,
    LABEL_ID,
    LABEL_INSTALLATION,
    LABEL_KIND,
    LABEL_REPLICA,
    LABEL_SPEC,
    LABEL_TEAM,
    MODELS_PATH,
    MODELS_VOLUME,
    SOCKET_PATH,
    ContainerSpec,
)

NOBODY = "65534:65534"
TOOLS_IMAGE = "modelyard/tools:1"
TOOLS_MEMORY_BYTES = 512 * 1024**2
# socat: built here from the distribution's package, or pulled. Best first.
FORWARDER_IMAGES = ("modelyard/forwarder:1", "docker.io/alpine/socat:1.8.0.3")
FORWARDER_MEMORY_BYTES = 256 * 1024**2
# Never ask a hub, never phone home, and leave the CPU while waiting (OpenMP's spinning starves its neighbours).
ALWAYS_ENV = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "passive"}
STOP_GRACE_S = 15
# Docker's own network, with a way out.
OUTWARD_NETWORK = "bridge"

# How each vendor's cards get into a container: (device plug-in driver, device nodes, groups).
VENDOR_DEVICES: dict[str, tuple[str | None, tuple[str, ...], tuple[str, ...]]] = {
    "nvidia": ("nvidia", (), ()),
    "amd": (None, ("/dev/kfd", "/dev/dri"), ("video", "render")),
    "intel": (None, ("/dev/dri",), ("video", "render")),
}


def labels(installation: str, kind: str, row_id: int, generation: int, attempt: int) -> dict[str, str]:
    """Who a container belongs to."""
    return {
        LABEL_INSTALLATION: installation,
        LABEL_KIND: kind,
        LABEL_ID: str(row_id),
        LABEL_GENERATION: str(generation),
        LABEL_ATTEMPT: str(attempt),
    }


def probe_name(installation: str, what: str) -> str:
    """The name of a short container that looks at a host. Several installations may share its Docker engine, and each
    removes what a worker of its own left behind."""
    return f"modelyard-probe-{what}-{installation[:8]}"


def told(team: str, deployment: str, ordinal: int) -> dict[str, str]:
    """The same for people: `docker ps --filter label=modelyard.deployment=chat`."""
    return {LABEL_TEAM: team, LABEL_DEPLOYMENT: deployment, LABEL_REPLICA: str(ordinal)}


@dataclass(frozen=True, slots=True)
class WayIn:
    """How an engine is reached: by a socket in a folder of this machine, made as `user`, or at an address of the
    internal network."""

    folder: str = ""
    user: str = NOBODY
    address: str = ""


def engine_user(grant: HardwareAllocation, wanted: str = NOBODY) -> str:
    """Who the engine runs as; "" for whom its image names: device nodes belong to groups that only root of an unknown
    image is sure to pass."""
    return "" if VENDOR_DEVICES.get(grant.vendor, (None, (), ()))[1] else wanted


def engine_container(
    *,
    name: str,
    image: str,
    way_in: WayIn,
    engine: Engine,
    launch: LaunchSpec,
    grant: HardwareAllocation,
    who: Mapping[str, str],
    artifact_id: int,
) -> ContainerSpec:
    """One engine: no way out, no privilege, its model's files alone, read-only; at its socket or its fixed address."""
    driver, nodes, groups = VENDOR_DEVICES.get(grant.vendor, (None, (), ()))
    mounts = files_of(artifact_id)
    if way_in.folder:
        mounts[way_in.folder] = (SOCKET_PATH, "rw")
    spec = ContainerSpec(
        name=name,
        image=image,
        labels=who,
        argv=tuple(launch.argv),
        env={**ALWAYS_ENV, **launch.env},
        user=engine_user(grant, way_in.user),
        network=ENGINE_NETWORK if way_in.address else None,
        address=way_in.address,
        mounts=mounts,
        tmpfs=launch.tmpfs or ("/tmp",),  # noqa: S108  a path inside the container
        memory_bytes=grant.memory_limit_bytes,
        shm_bytes=launch.shm_bytes,
        read_only_root=engine.read_only_root,
        init=engine.needs_init,
        stop_signal=engine.stop_signal,
        stop_timeout_s=engine.stop_timeout_s,
        devices=(driver, grant.device_ids) if driver else None,
        device_nodes=nodes,
        groups=groups,
    )
    return with_hash(spec)


def forwarder_container(
    *, name: str, image: str, who: Mapping[str, str], engine_id: str, port: int, folder: str, user: str
) -> ContainerSpec:
    """The socket of an engine that can only listen on a port. It shares the engine's network, which has no way out."""
    spec = ContainerSpec(
        name=name,
        image=image,
        labels=who,
        argv=(f"UNIX-LISTEN:{SOCKET_PATH}/{ENGINE_SOCKET},fork,backlog=128,unlink-early", f"TCP4:127.0.0.1:{port}"),
        user=user,
        network=f"container:{engine_id}",
        mounts={folder: (SOCKET_PATH, "rw")},
        memory_bytes=FORWARDER_MEMORY_BYTES,
        stop_timeout_s=1,
    )
    return with_hash(spec)


def fetch_container(
    *, name: str, who: Mapping[str, str], order: Mapping[str, Any], import_folder: str | None
) -> ContainerSpec:
    """Bring files into the models volume: from a folder without a network, else over the engine's ordinary one.

    Where it may connect to is checked by its program, which is told the policy; its secrets come over its input.
    """
    mounts = {MODELS_VOLUME: (MODELS_PATH, "rw")}
    env = {"MODELYARD_JOB": json.dumps(order), "PYTHONUNBUFFERED": "1"}
    if import_folder:
        mounts[import_folder] = ("/import", "ro")
    else:
        env["MODELYARD_SECRETS"] = "stdin"
    spec = ContainerSpec(
        name=name,
        image=TOOLS_IMAGE,
        labels=who,
        argv=("python3", "-m", "compose.tools.fetch"),
        env=env,
        network=None if import_folder else OUTWARD_NETWORK,
        reads_input=not import_folder,
        mounts=mounts,
        memory_bytes=TOOLS_MEMORY_BYTES,
        pids=64,
    )
    return with_hash(spec)


def remove_container(*, name: str, who: Mapping[str, str], folder: str) -> ContainerSpec:
    """Remove an artifact's folder from the models volume: no network."""
    spec = ContainerSpec(
        name=name,
        image=TOOLS_IMAGE,
        labels=who,
        argv=("python3", "-m", "compose.tools.remove"),
        env={"MODELYARD_JOB": json.dumps({"target_dir": folder}), "PYTHONUNBUFFERED": "1"},
        mounts={MODELS_VOLUME: (MODELS_PATH, "rw")},
        memory_bytes=TOOLS_MEMORY_BYTES,
        pids=64,
    )
    return with_hash(spec)


def shelf_container(*, name: str, who: Mapping[str, str], order: Mapping[str, Any], reads_input: bool) -> ContainerSpec:
    """Make, publish or remove a quantising job's folder in the models volume: no network."""
    env = {"MODELYARD_JOB": json.dumps(order), "PYTHONUNBUFFERED": "1"}
    spec = ContainerSpec(
        name=name,
        image=TOOLS_IMAGE,
        labels=who,
        argv=("python3", "-m", "compose.tools.staging"),
        env=env,
        reads_input=reads_input,
        mounts={MODELS_VOLUME: (MODELS_PATH, "rw")},
        memory_bytes=TOOLS_MEMORY_BYTES,
        pids=64,
    )
    return with_hash(spec)


def quantiser_container(
    *,
    name: str,
    who: Mapping[str, str],
    image: str,
    order: Mapping[str, Any],
    artifact_id: int,
    work: str,
    memory_bytes: int,
    program: tuple[str, ...] | None = None,
) -> ContainerSpec:
    """One step of a quantiser: no network, its source read-only, `work` (a folder of the models volume) to write to.

    `program` stands for what the image runs by itself.
    """
    spec = ContainerSpec(
        name=name,
        image=image,
        labels=who,
        entrypoint=program,
        env={**ALWAYS_ENV, "MODELYARD_JOB": json.dumps(order), "PYTHONUNBUFFERED": "1"},
        mounts={**files_of(artifact_id), f"{MODELS_VOLUME}/{work}": (WORK, "rw")},
        memory_bytes=memory_bytes,
    )
    return with_hash(spec)


def clean_up_container(name: str, who: Mapping[str, str], folder: str) -> ContainerSpec:
    """Remove what a cancelled or failed fetch left half done in the artifact's folder; finished files stay."""
    program = (
        "import pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for path in folder.rglob('.partial-*'): path.unlink(missing_ok=True)\n"
        "if folder.is_dir() and not any(folder.iterdir()): folder.rmdir()\n"
    )
    spec = ContainerSpec(
        name=name,
        image=TOOLS_IMAGE,
        labels=who,
        argv=("python3", "-c", program, folder),
        mounts={MODELS_VOLUME: (MODELS_PATH, "rw")},
        memory_bytes=TOOLS_MEMORY_BYTES,
        pids=64,
    )
    return with_hash(spec)


def files_of(artifact_id: int) -> dict[str, tuple[str, str]]:
    """The mount of one artifact's files: whoever runs there reads these and no other team's."""
    return {f"{MODELS_VOLUME}/{artifact_id}": (f"{MODELS_PATH}/{artifact_id}", "ro")}


def with_hash(spec: ContainerSpec) -> ContainerSpec:
    """The spec with a label that names all of its content, so that a change can be seen on the container."""
    content = {one.name: getattr(spec, one.name) for one in fields(spec)}
    content["labels"] = {name: value for name, value in spec.labels.items() if name != LABEL_SPEC}
    text = json.dumps(content, sort_keys=True, default=dict)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return replace(spec, labels={**content["labels"], LABEL_SPEC: digest})


def model_files(artifact_id: int, main_file: str, alias: str, format_name: str, facts: Mapping[str, Any]) -> ModelFiles:
    """The artifact's main file as the container sees it."""
    return ModelFiles(f"{MODELS_PATH}/{artifact_id}/{main_file}", alias, format_name, facts)
