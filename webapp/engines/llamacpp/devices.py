"""What `llama-server --list-devices` prints: name, whole and free memory, whatever the vendor.

Devices that share the host's memory are marked "uma: 1" in the lines before the list; their memory is the host's and
must not be counted twice.
"""

import re

from webapp.engines.base import DeviceList, ListedDevice
from webapp.inventory.probes.devices import MIB, ProbeError, checked

_DEVICE = re.compile(r"^\s+(\w+?)(\d+):\s+(.+?)\s+\((\d+)\s+MiB,\s+(\d+)\s+MiB\s+free\)", re.MULTILINE)
_UNIFIED = re.compile(r"^ggml_vulkan: (\d+) = .*\|\s*uma: 1\b", re.MULTILINE)


def parse(text: str) -> tuple[ListedDevice, ...]:
    """The devices, none for a machine without any. Raises ProbeError when there is no list at all."""
    text = checked("llama-server", text)
    if "Available devices:" not in text:
        raise ProbeError(f"llama-server printed no device list: {' '.join(text.split())[:200]}")
    unified = {int(match[1]) for match in _UNIFIED.finditer(text)}
    return tuple(
        ListedDevice(
            backend=match[1],
            index=int(match[2]),
            name=match[3],
            memory_bytes=int(match[4]) * MIB,
            free_bytes=int(match[5]) * MIB,
            shares_host_memory=match[1] == "Vulkan" and int(match[2]) in unified,
        )
        for match in _DEVICE.finditer(text)
    )


DEVICE_LIST = DeviceList(("--list-devices",), parse)
