"""One small container per host that prints what the machine does, where the watcher cannot look for itself."""

import logging

from webapp.inventory.models import Accelerator, Host
from workers.hosts import place
from workers.runtime import specs
from workers.runtime.base import (
    LABEL_INSTALLATION,
    LABEL_SPEC,
    ContainerMissing,
    ContainerSpec,
    ImageMissing,
    NameTaken,
    Runtime,
    RuntimeFault,
)
from workers.watcher.readings import NVIDIA_QUERY

logger = logging.getLogger(__name__)

NAME = "modelyard-sampler"
EVERY_S = 10
MEMORY_BYTES = 64 * 1024**2
STOP_GRACE_S = 2

# /proc/stat and /proc/meminfo tell of the whole machine inside a container, too.
PROGRAM = f"""
import json, shutil, subprocess, time
QUERY = ["nvidia-smi", "--query-gpu={NVIDIA_QUERY}", "--format=csv,noheader,nounits"]
has_gpus = shutil.which("nvidia-smi") is not None
def gpus():
    try:
        return subprocess.run(QUERY, capture_output=True, text=True, timeout=8).stdout if has_gpus else ""
    except (OSError, subprocess.SubprocessError):
        return ""
while True:
    at = time.time()
    with open("/proc/stat") as file: stat = file.readline()
    with open("/proc/meminfo") as file: meminfo = "".join(file.readline() for _ in range(5))
    print(json.dumps(dict(at=at, stat=stat, meminfo=meminfo, gpus=gpus())), flush=True)
    time.sleep({EVERY_S} - time.time() % {EVERY_S})
"""


def ensure(runtime: Runtime, host: Host, installation: str) -> None:
    """Have the sampler run where it is needed, as it is meant to be now, and nowhere else. Raises HostUnreachable."""
    wanted = spec(host, installation) if is_needed(host) else None
    try:
        there = runtime.inspect(NAME)
    except ContainerMissing:
        there = None
    if there is not None:
        is_right = wanted is not None and there.labels.get(LABEL_SPEC) == wanted.labels[LABEL_SPEC]
        if is_right and there.status == "running":
            return
        if there.labels.get(LABEL_INSTALLATION) != installation:
            return  # another Modelyard on the same engine measures already; its lines are as good as ours
        runtime.remove(there.id)
    if wanted is None:
        return
    try:
        runtime.start(runtime.create(wanted))
    except NameTaken:
        return  # another worker was first
    except ImageMissing:
        logger.info("%s is measured once it has the image %s", host.name, wanted.image)
    except RuntimeFault as fault:
        logger.warning("%s: the sampler did not start: %s", host.name, fault)


def is_needed(host: Host) -> bool:
    """On this machine the watcher reads /proc itself; a GPU is asked through a container everywhere."""
    if not place.is_this_machine(host):
        return True
    return _has_nvidia(host)


def spec(host: Host, installation: str) -> ContainerSpec:
    """No network, nobody's rights, sixty-four MiB."""
    has_nvidia = _has_nvidia(host)
    return specs.with_hash(
        ContainerSpec(
            name=NAME,
            image=specs.TOOLS_IMAGE,
            labels=specs.labels(installation, "sampler", host.pk, 1, 1),
            argv=("python3", "-c", PROGRAM),
            env={"NVIDIA_DRIVER_CAPABILITIES": "utility"} if has_nvidia else {},
            user=specs.NOBODY,
            memory_bytes=MEMORY_BYTES * (8 if has_nvidia else 1),
            pids=32,
            stop_timeout_s=STOP_GRACE_S,
            devices=("nvidia", ()) if has_nvidia else None,
        )
    )


def _has_nvidia(host: Host) -> bool:
    return Accelerator.objects.filter(host=host, vendor="nvidia", is_present=True).exists()
