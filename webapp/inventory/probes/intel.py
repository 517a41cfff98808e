"""What xpu-smi prints: `discovery -j`, `discovery -d N -j`, and the CSV of `dump`."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from webapp.inventory.probes.devices import Device, ProbeError, checked, fraction, number, pci_address, size, whole

DISCOVERY_COMMAND = ("xpu-smi", "discovery", "-j")
DUMP_COMMAND = ("xpu-smi", "dump", "-d", "-1", "-m", "0,1,3,18", "-n", "1")  # use, power, temperature, memory used


def details_command(device: int) -> tuple[str, ...]:
    """The command whose reply has the memory of one device."""
    return ("xpu-smi", "discovery", "-d", str(device), "-j")


def parse(discovery: str, details: Iterable[str] = (), dump: str = "") -> tuple[Device, ...]:
    """The GPUs of `discovery -j`, with memory from the details and use from the dump where given.

    Virtual functions of a shared card are left out. Raises ProbeError.
    """
    listed = _object(discovery).get("device_list")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if not entries:
        raise ProbeError("xpu-smi reports no GPU.")
    more = {whole(entry.get("device_id"), -1): entry for entry in map(_object, details)}
    uses = parse_dump(dump) if dump.strip() else {}
    devices = []
    for position, entry in enumerate(entries):
        if entry.get("device_function_type", "physical") != "physical":
            continue
        index = whole(entry.get("device_id"), position)
        device = _device(index, {**entry, **more.get(index, {})})
        devices.append(_with_use(device, uses.get(index, {})))
    return tuple(devices)


def parse_dump(text: str) -> dict[int, dict[str, str]]:
    """The newest row of every device in the CSV of `dump`: {device: {column: text}}. Raises ProbeError."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(checked("xpu-smi", text).splitlines()) if row]
    if not rows or "DeviceId" not in rows[0]:
        raise ProbeError("xpu-smi dump printed no header line.")
    found: dict[int, dict[str, str]] = {}
    for row in rows[1:]:
        cells = dict(zip(rows[0], row, strict=False))
        index = whole(cells.get("DeviceId"), -1)
        if index >= 0:
            found[index] = cells
    return found


def _object(text: str) -> dict[str, Any]:
    text = checked("xpu-smi", text)
    try:
        value = json.JSONDecoder().raw_decode(text[max(0, text.find("{")) :])[0]
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"xpu-smi printed JSON that cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ProbeError("xpu-smi printed something else than a device list.")
    if "error" in value:
        raise ProbeError(f"xpu-smi does not work there: {str(value['error'])[:200]}")
    return value


def _device(index: int, entry: Mapping[str, Any]) -> Device:
    total = size(entry.get("memory_physical_size_byte"), "B")
    free = size(entry.get("memory_free_size_byte"), "B")
    return Device(
        vendor="intel",
        index=index,
        id=str(index),
        name=str(entry.get("device_name") or "Intel GPU"),
        memory_bytes=total,
        used_bytes=max(0, total - free) if total is not None and free is not None else None,
        free_bytes=free,
        driver_version=str(entry.get("driver_version") or ""),
        pci_address=pci_address(str(entry.get("pci_bdf_address") or "")),
        render_node=str(entry.get("drm_device") or ""),
    )


def _with_use(device: Device, cells: Mapping[str, str]) -> Device:
    used = size(cells.get("GPU Memory Used (MiB)"))
    free = device.free_bytes
    if used is not None and device.memory_bytes is not None:
        free = max(0, device.memory_bytes - used)
    return replace(
        device,
        used_bytes=device.used_bytes if used is None else used,
        free_bytes=free,
        utilisation=fraction(cells.get("GPU Utilization (%)")),
        power_w=number(cells.get("GPU Power (W)")),
        temperature_c=number(cells.get("GPU Core Temperature (Celsius Degree)")),
    )
