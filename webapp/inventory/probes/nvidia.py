"""What nvidia-smi prints: `-L`, `-q -x` and `--query-gpu=... --format=csv`.

MIG: only `-L` has the slices' UUIDs (the XML of many drivers has none) and only the XML has their memory, so the two
are joined by the order of GPUs and the slices' indices. A GPU in MIG mode reports no utilisation.
"""

import csv
import re
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from webapp.inventory.probes.devices import Device, ProbeError, checked, fraction, number, pci_address, size, whole

QUERY_FIELDS = (
    "index,uuid,name,pci.bus_id,driver_version,compute_cap,memory.total,memory.used,memory.free,"
    "utilization.gpu,temperature.gpu,power.draw,power.limit,mig.mode.current"
)
LIST_COMMAND = ("nvidia-smi", "-L")
XML_COMMAND = ("nvidia-smi", "-q", "-x")
CSV_COMMAND = ("nvidia-smi", f"--query-gpu={QUERY_FIELDS}", "--format=csv,nounits")

_GPU_LINE = re.compile(r"^GPU (\d+): (.+?) \(UUID: ([\w.-]+)\)\s*$")
_MIG_LINE = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: ([\w./-]+)\)\s*$")
_FAILURES = re.compile(
    r"NVIDIA-SMI has failed|Failed to initialize NVML|No devices were found|couldn't communicate", re.I
)


@dataclass(frozen=True, slots=True)
class Slice:
    """One line of `-L` about a MIG slice: profile such as "3g.40gb"."""

    profile: str
    index: int
    id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One GPU of `-L` with its slices."""

    index: int
    name: str
    id: str
    slices: tuple[Slice, ...] = ()


def parse_list(text: str) -> tuple[Listed, ...]:
    """The GPUs of `nvidia-smi -L`. Raises ProbeError when there are none."""
    text = _working(text)
    found: list[Listed] = []
    for line in text.splitlines():
        gpu, mig = _GPU_LINE.match(line), _MIG_LINE.match(line)
        if gpu is not None:
            found.append(Listed(int(gpu[1]), gpu[2], gpu[3]))
        elif mig is not None and found:
            piece = Slice(mig[1], int(mig[2]), mig[3])
            found[-1] = replace(found[-1], slices=(*found[-1].slices, piece))
    if not found:
        raise ProbeError(f"nvidia-smi -L lists no GPU: {text.strip()[:200]}")
    return tuple(found)


def parse_xml(text: str, listing: str = "") -> tuple[Device, ...]:
    """GPUs, each followed by its slices, out of `nvidia-smi -q -x` (and `-L` for the slices' ids).

    Slices whose id neither text gives are left out: they could not be asked for. Raises ProbeError.
    """
    text = _working(text)
    if "<!ENTITY" in text:
        raise ProbeError("nvidia-smi printed XML with entities, which it never does.")
    try:
        root = ElementTree.fromstring(text[text.find("<") :].strip())  # noqa: S314 - bounded, and without entities
    except ElementTree.ParseError as error:
        raise ProbeError(f"nvidia-smi printed XML that cannot be read: {error}") from error
    listed = {gpu.id: gpu for gpu in parse_list(listing)} if listing.strip() else {}
    devices: list[Device] = []
    for index, element in enumerate(root.iter("gpu")):
        gpu = _gpu(element, index, root.findtext("driver_version", "").strip())
        devices.append(gpu)
        known = listed.get(gpu.id) or next((one for one in listed.values() if one.index == index), None)
        devices += _slices(element, gpu, known)
    if not devices:
        raise ProbeError("nvidia-smi reports no GPU.")
    return tuple(devices)


def parse_csv(text: str) -> tuple[Device, ...]:
    """GPUs out of `--query-gpu=... --format=csv` with a header line, with or without units, any set of fields.

    Slices are not in this format. Raises ProbeError without a header or a row.
    """
    rows = [[cell.strip() for cell in row] for row in csv.reader(_working(text).splitlines()) if row]
    if len(rows) < 2:
        raise ProbeError("nvidia-smi printed no row of values.")
    names = [name.split(" [")[0] for name in rows[0]]
    if "name" not in names and "uuid" not in names:
        raise ProbeError(f"nvidia-smi printed no header line: {', '.join(rows[0])[:200]}")
    devices = []
    for position, row in enumerate(rows[1:]):
        if len(row) != len(names):
            raise ProbeError(f"nvidia-smi printed {len(row)} values for {len(names)} fields.")
        devices.append(_row(dict(zip(names, row, strict=True)), position))
    return tuple(devices)


def _row(cells: dict[str, str], position: int) -> Device:
    index = whole(cells.get("index"), position)
    return Device(
        vendor="nvidia",
        index=index,
        id=cells.get("uuid", str(index)),
        name=cells.get("name", "NVIDIA GPU"),
        memory_bytes=size(cells.get("memory.total")),
        used_bytes=size(cells.get("memory.used")),
        free_bytes=size(cells.get("memory.free")),
        driver_version=cells.get("driver_version", ""),
        compute_capability=cells.get("compute_cap", ""),
        pci_address=pci_address(cells.get("pci.bus_id", "")),
        utilisation=fraction(cells.get("utilization.gpu")),
        temperature_c=number(cells.get("temperature.gpu")),
        power_w=number(cells.get("power.draw")),
        power_limit_w=number(cells.get("power.limit")),
        is_partitioned=cells.get("mig.mode.current") == "Enabled",
    )


def _gpu(element: ElementTree.Element, index: int, driver: str) -> Device:
    def text(*paths: str) -> str:
        return next((found.strip() for path in paths if (found := element.findtext(path))), "")

    return Device(
        vendor="nvidia",
        index=index,
        id=text("uuid") or str(index),
        name=text("product_name") or "NVIDIA GPU",
        memory_bytes=size(text("fb_memory_usage/total")),
        used_bytes=size(text("fb_memory_usage/used")),
        free_bytes=size(text("fb_memory_usage/free")),
        driver_version=driver,
        pci_address=pci_address(text("pci/pci_bus_id") or element.get("id", "")),
        utilisation=fraction(text("utilization/gpu_util")),
        temperature_c=number(text("temperature/gpu_temp")),
        power_w=number(
            text(
                "gpu_power_readings/power_draw",
                "gpu_power_readings/average_power_draw",
                "gpu_power_readings/instant_power_draw",
                "power_readings/power_draw",
            )
        ),
        power_limit_w=number(text("gpu_power_readings/current_power_limit", "power_readings/power_limit")),
        is_partitioned=text("mig_mode/current_mig") == "Enabled",
    )


def _slices(element: ElementTree.Element, gpu: Device, listed: Listed | None) -> list[Device]:
    pieces = {piece.index: piece for piece in listed.slices} if listed else {}
    found = []
    for position, mig in enumerate(element.iterfind("mig_devices/mig_device")):
        index = whole(mig.findtext("index"), position)
        piece = pieces.get(index)
        identity = piece.id if piece else (mig.findtext("uuid") or "").strip()
        if not identity.startswith("MIG-"):
            continue
        found.append(
            Device(
                vendor="nvidia",
                index=index,
                id=identity,
                name=f"{gpu.name} MIG {piece.profile}" if piece else f"{gpu.name} MIG",
                memory_bytes=size(mig.findtext("fb_memory_usage/total")),
                used_bytes=size(mig.findtext("fb_memory_usage/used")),
                free_bytes=size(mig.findtext("fb_memory_usage/free")),
                driver_version=gpu.driver_version,
                pci_address=gpu.pci_address,
                parent_id=gpu.id,
            )
        )
    return found


def _working(text: str) -> str:
    text = checked("nvidia-smi", text)
    if _FAILURES.search(text[:4096]):
        raise ProbeError(f"nvidia-smi does not work there: {' '.join(text.split())[:300]}")
    return text
