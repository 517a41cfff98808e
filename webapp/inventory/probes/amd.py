"""What amd-smi (JSON) and rocm-smi (JSON, CSV) print. Names of fields differ from release to release."""

import csv
import json
from collections.abc import Mapping
from typing import Any

from webapp.inventory.probes.devices import Device, ProbeError, checked, fraction, number, pci_address, size, whole

STATIC_COMMAND = ("amd-smi", "static", "--asic", "--vram", "--driver", "--bus", "--json")
METRIC_COMMAND = ("amd-smi", "metric", "--json")
ROCM_COMMAND = ("rocm-smi", "--showallinfo", "--json")


def parse(text: str, metrics: str = "") -> tuple[Device, ...]:
    """The GPUs in what `amd-smi static --json` (with `amd-smi metric --json` for use) or rocm-smi printed.

    Which of them it is, is seen from the text. Raises ProbeError.
    """
    text = checked("amd-smi", text)
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0 or "device," in text[:start]:
        return _rocm_csv(text)
    content = _json(text[start:])
    if isinstance(content, dict) and any(key.startswith("card") for key in content):
        return _rocm_json(content)
    found = _amd_smi(content)
    uses = {whole(entry.get("gpu"), -1): entry for entry in _entries(_json_of(metrics))} if metrics.strip() else {}
    return tuple(_device(entry, uses.get(whole(entry.get("gpu"), -1), {})) for entry in found)


def _json_of(text: str) -> Any:
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=0)
    return _json(text[start:])


def _json(text: str) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"The AMD tool printed JSON that cannot be read: {error}") from error


def _entries(content: Any) -> list[dict[str, Any]]:
    """The list of GPUs: bare in older releases, under gpu_data in newer ones."""
    if isinstance(content, dict):
        content = content.get("gpu_data")
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []


def _amd_smi(content: Any) -> list[dict[str, Any]]:
    found = _entries(content)
    if not found:
        raise ProbeError("amd-smi reports no GPU.")
    return found


def _part(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = entry.get(name)
    return part if isinstance(part, Mapping) else {}


def _sized(value: Any) -> int | None:
    """Bytes of {"value": 196592, "unit": "MB"} or "196592 MB"."""
    if isinstance(value, Mapping):
        return size(f"{value.get('value')} {value.get('unit', 'MB')}")
    return size(value, "MB")


def _plain(value: Any) -> Any:
    return value.get("value") if isinstance(value, Mapping) else value


def _device(entry: dict[str, Any], use: Mapping[str, Any]) -> Device:
    asic, memory = _part(entry, "asic"), _part(use, "mem_usage")
    total = _sized(_part(entry, "vram").get("size")) or _sized(memory.get("total_vram"))
    index = whole(entry.get("gpu"), 0)
    return Device(
        vendor="amd",
        index=index,
        id=str(index),
        name=str(asic.get("market_name") or "AMD GPU"),
        memory_bytes=total,
        used_bytes=_sized(memory.get("used_vram")),
        free_bytes=_sized(memory.get("free_vram")),
        driver_version=str(_part(entry, "driver").get("version") or ""),
        compute_capability=str(asic.get("target_graphics_version") or ""),
        pci_address=pci_address(str(_part(entry, "bus").get("bdf") or "")),
        utilisation=fraction(_plain(_part(use, "usage").get("gfx_activity"))),
        temperature_c=number(_plain(_part(use, "temperature").get("edge"))),
        power_w=number(_plain(_part(use, "power").get("socket_power"))),
    )


def _rocm_json(content: Mapping[str, Any]) -> tuple[Device, ...]:
    cards = {key: value for key, value in content.items() if key.startswith("card") and isinstance(value, Mapping)}
    driver = str(_part(content, "system").get("Driver version") or "")
    return tuple(_card(name, values, driver) for name, values in cards.items())


def _rocm_csv(text: str) -> tuple[Device, ...]:
    lines = text.splitlines()
    header = next((at for at, line in enumerate(lines) if line.startswith("device,")), None)
    if header is None:
        raise ProbeError(f"The AMD tool printed no device list: {' '.join(text.split())[:200]}")
    rows = [row for row in csv.DictReader(lines[header:]) if str(row.get("device") or "").startswith("card")]
    if not rows:
        raise ProbeError("rocm-smi reports no GPU.")
    return tuple(_card(str(row["device"]), row, "") for row in rows)


def _card(name: str, values: Mapping[str, Any], driver: str) -> Device:
    """One card of rocm-smi. Keys are compared without case: releases disagree about it."""
    by_name = {str(key).lower(): value for key, value in values.items() if key is not None}

    def get(*names: str) -> Any:
        return next((by_name[key] for key in names if by_name.get(key) not in (None, "", "N/A")), None)

    total, used = size(get("vram total memory (b)"), "B"), size(get("vram total used memory (b)"), "B")
    index = whole(name.removeprefix("card"), 0)
    power = get("current socket graphics package power (w)", "average graphics package power (w)")
    return Device(
        vendor="amd",
        index=index,
        id=str(index),
        name=str(get("card series", "card model", "device name") or "AMD GPU"),
        memory_bytes=total,
        used_bytes=used,
        free_bytes=total - used if total is not None and used is not None else None,
        driver_version=driver,
        compute_capability=str(get("gfx version") or ""),
        pci_address=pci_address(str(get("pci bus") or "")),
        utilisation=fraction(get("gpu use (%)")),
        temperature_c=number(get("temperature (sensor edge) (c)")),
        power_w=number(power),
        power_limit_w=number(get("max graphics package power (w)")),
    )
