"""Which accelerators a host has: asked through a short container, and only where Docker hints at a vendor."""

import json
import logging
from collections.abc import Callable
from typing import Any

from webapp import engines
from webapp.inventory.probes import docker_info, nvidia
from webapp.inventory.probes.devices import Device, ProbeError
from webapp.inventory.services import AcceleratorFacts
from workers.runtime import specs
from workers.runtime.base import ContainerSpec, ImageMissing, NameTaken, Runtime, StartRefused

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 10.0
PROBE_MEMORY_BYTES = 1024**3

# Runs every command of its arguments (JSON) and prints their outputs as one line: one container instead of three.
_RUN_ALL = (
    "import json, subprocess, sys\n"
    "outputs = []\n"
    "for argv in json.loads(sys.argv[1]):\n"
    "    done = subprocess.run(argv, capture_output=True, text=True, errors='replace')\n"
    "    outputs.append(done.stdout or done.stderr)\n"
    "print(json.dumps(outputs))\n"
)


def find(runtime: Runtime, info: dict[str, Any], installation: str) -> tuple[AcceleratorFacts, ...]:
    """The accelerators that containers on this host can be given; none on a host without a vendor's runtime.

    A probe that fails is logged and yields nothing. Raises HostUnreachable.
    """
    found: list[AcceleratorFacts] = []
    try:
        vendors = docker_info.parse(info).likely_vendors
    except ProbeError as error:
        logger.warning("%s", error)
        return ()
    for vendor in vendors:
        try:
            found += _PROBES[vendor](runtime, installation)
        except (ProbeError, ImageMissing, NameTaken, StartRefused) as fault:
            logger.warning("the %s probe gave nothing: %s", vendor, fault)
    return tuple(found)


def _nvidia(runtime: Runtime, installation: str) -> list[AcceleratorFacts]:
    """nvidia-smi, which NVIDIA's runtime puts into whatever container asks for a GPU."""
    commands = json.dumps([nvidia.XML_COMMAND, nvidia.LIST_COMMAND, nvidia.CSV_COMMAND])
    spec = ContainerSpec(
        **_common("nvidia", installation),
        image=specs.TOOLS_IMAGE,
        argv=("python3", "-c", _RUN_ALL, commands),
        env={"NVIDIA_DRIVER_CAPABILITIES": "utility"},
        devices=("nvidia", ()),
    )
    code, output = _run(runtime, spec)
    if code != 0:
        raise ProbeError(f"it ended with exit code {code}: {output.strip()[-300:]}")
    xml, listing, table = json.loads(output.strip().splitlines()[-1])
    return nvidia_facts(xml, listing, table)


def nvidia_facts(xml: str, listing: str, table: str) -> list[AcceleratorFacts]:
    """GPUs and slices that can be given away: a GPU that is cut into slices is not, its slices are."""
    capabilities = {device.id: device.compute_capability for device in nvidia.parse_csv(table)}
    return [
        _facts(device, index, capabilities.get(device.parent_id or device.id, ""))
        for index, device in enumerate(nvidia.parse_xml(xml, listing))
        if not device.is_partitioned
    ]


def _facts(device: Device, index: int, capability: str) -> AcceleratorFacts:
    return AcceleratorFacts(
        index=index,
        uuid=device.id,
        vendor=device.vendor,
        name=device.name,
        memory_bytes=device.memory_bytes or 0,
        parent_uuid=device.parent_id,
        compute_capability=capability or device.compute_capability,
    )


def _by_an_engine(vendor: str) -> Callable[[Runtime, str], list[AcceleratorFacts]]:
    """An engine's own list, by its image for that vendor when the host has it."""

    def probe(runtime: Runtime, installation: str) -> list[AcceleratorFacts]:
        able = {image: each.device_list for each in engines.all() if each.device_list for image in each.images(vendor)}
        image = next((image for image in able if runtime.find_image(image)), None)
        if image is None:
            raise ProbeError(f"none of {', '.join(able)} is on the host")
        _driver, nodes, groups = specs.VENDOR_DEVICES[vendor]
        spec = ContainerSpec(
            **{**_common(vendor, installation), "user": ""},
            image=image,
            argv=able[image].argv,
            device_nodes=nodes,
            groups=groups,
        )
        _code, output = _run(runtime, spec)
        return [
            AcceleratorFacts(device.index, f"{vendor}-{device.index}", vendor, device.name, device.memory_bytes)
            for device in able[image].parse(output)
            if not device.shares_host_memory
        ]

    return probe


def _run(runtime: Runtime, spec: ContainerSpec) -> tuple[int, str]:
    runtime.remove(spec.name)  # what a worker left that died in its probe
    return runtime.run(spec, PROBE_TIMEOUT_S)


def _common(vendor: str, installation: str) -> dict[str, Any]:
    return {
        "name": specs.probe_name(installation, vendor),
        "labels": specs.labels(installation, "probe", 0, 1, 1),
        "memory_bytes": PROBE_MEMORY_BYTES,
        "user": specs.NOBODY,
    }


_PROBES: dict[str, Callable[[Runtime, str], list[AcceleratorFacts]]] = {
    "nvidia": _nvidia,
    "amd": _by_an_engine("amd"),
    "intel": _by_an_engine("intel"),
}
