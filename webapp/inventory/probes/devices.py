"""The record every GPU probe fills, and the readers of values that all of them need."""

import re
from dataclasses import dataclass
from typing import Any, Literal

MIB = 2**20
MOST_CHARACTERS = 16 * 2**20

_NUMBER = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z%/]*)\s*$")
_UNITS = {"": 1, "b": 1, "kb": 1000, "kib": 1024, "mb": MIB, "mib": MIB, "gb": 2**30, "gib": 2**30}
_ABSENT = 9.22e18  # DCGM and its relatives print such numbers where there is no value
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class ProbeError(ValueError):
    """What a probe printed cannot be used. The message says which probe and why, for people."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or one slice of one, as a probe saw it. None means that the probe could not tell."""

    vendor: Literal["nvidia", "amd", "intel"]
    index: int  # among the devices of its vendor; of a slice: within its parent
    id: str  # what Docker is asked for: GPU-..., MIG-..., or the vendor's index where it has no lasting ids
    name: str
    memory_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    driver_version: str = ""
    compute_capability: str = ""  # "9.0" (NVIDIA), "gfx942" (AMD)
    pci_address: str = ""  # "0000:83:00.0"
    utilisation: float | None = None  # 0..1
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    parent_id: str = ""  # of the GPU that this is a slice of
    is_partitioned: bool = False  # cut into slices: only those can be used
    render_node: str = ""  # "/dev/dri/renderD128"


def checked(probe: str, text: str) -> str:
    """The text without terminal colours. Raises ProbeError when it is empty or absurdly long."""
    if len(text) > MOST_CHARACTERS:
        raise ProbeError(f"{probe} printed {len(text):,} characters; that is no device list.")
    plain = _ESCAPES.sub("", text)
    if not plain.strip():
        raise ProbeError(f"{probe} printed nothing.")
    return plain


def number(value: Any) -> float | None:
    """The number in "71.15 W", 42, "98 %"; None for "[N/A]", sentinels and everything else that is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        found = float(value)
    else:
        match = _NUMBER.match(str(value))
        if match is None:
            return None
        found = float(match[1])
    return found if abs(found) < _ABSENT else None


def whole(value: Any, default: int) -> int:
    """The same as a whole number, `default` when there is none."""
    found = number(value)
    return default if found is None else int(found)


def fraction(value: Any) -> float | None:
    """Percent as 0..1; None when there is no number."""
    found = number(value)
    return None if found is None else min(1.0, max(0.0, found / 100))


def size(value: Any, unit: str = "MiB") -> int | None:
    """Bytes of "81559 MiB" or of a bare number in `unit`. GPU tools mean 2**20 when they print MB."""
    found = number(value)
    if found is None or found < 0:
        return None
    match = _NUMBER.match(str(value))
    given = match[2].lower() if match is not None else ""
    return int(found * _UNITS.get(given or unit.lower(), _UNITS[unit.lower()]))


def pci_address(text: str) -> str:
    """Bus addresses in one spelling: NVIDIA writes eight digits of domain, sysfs four."""
    text = text.strip().lower()
    return text[4:] if re.fullmatch(r"0000[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", text) else text
