"""From Docker's statistics, /proc and the sampler's lines to numbers. Pure.

Sources: Docker Engine API "container stats" (cgroup v1 and v2 name memory differently); proc(5); `nvidia-smi
--help-query-gpu`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Jiffies are hundredths of a second on every architecture that Docker runs on.
JIFFIES_PER_S = 100.0
MIB = 1024**2


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the container or machine began, and gauges of this moment."""

    cpu_s: float
    values: Mapping[str, float]


def container(stats: Mapping[str, Any]) -> Usage | None:
    """A running container's use; None for one that has ended (Docker then answers with empty statistics)."""
    try:
        total_ns = stats["cpu_stats"]["cpu_usage"]["total_usage"]
        memory = stats["memory_stats"]["stats"]
    except (KeyError, TypeError):
        return None
    if not total_ns or not isinstance(memory, Mapping):
        return None
    own = _first(memory, "anon", "total_rss", "rss")
    mapped = _first(memory, "file_mapped", "total_mapped_file", "mapped_file")
    values = {"memory_bytes": own, "mapped_bytes": mapped}
    return Usage(float(total_ns) / 1e9, {name: float(value) for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class Machine:
    """A machine's use, and that of its GPUs by their uuid."""

    usage: Usage
    gpus: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def machine(stat: str, meminfo: str, gpus: str = "") -> Machine | None:
    """From the texts of /proc/stat, /proc/meminfo and nvidia-smi; None when they are none."""
    cpu_s = _busy_s(stat)
    memory = _meminfo(meminfo)
    total, free = memory.get("MemTotal"), memory.get("MemAvailable", memory.get("MemFree"))
    if cpu_s is None or total is None or free is None:
        return None
    return Machine(Usage(cpu_s, {"memory_bytes": float(total - free)}), nvidia(gpus))


def sampler_line(line: str) -> tuple[float, Machine] | None:
    """What a host's sampler printed: when (unix seconds), and what it saw. None for anything else."""
    try:
        said = json.loads(line)
        at = float(said["at"])
        found = machine(str(said["stat"]), str(said["meminfo"]), str(said.get("gpus") or ""))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (at, found) if found is not None and math.isfinite(at) else None


NVIDIA_QUERY = "uuid,utilization.gpu,memory.used,power.draw,temperature.gpu"
_NVIDIA_COLUMNS = (
    ("busy_percent", 1.0),
    ("gpu_memory_bytes", float(MIB)),
    ("power_watts", 1.0),
    ("temperature_c", 1.0),
)


def nvidia(table: str) -> dict[str, dict[str, float]]:
    """`nvidia-smi --query-gpu=… --format=csv,noheader,nounits`; what a GPU does not tell ([N/A]) is left out."""
    found: dict[str, dict[str, float]] = {}
    for line in table.splitlines():
        uuid, *cells = (cell.strip() for cell in line.split(","))
        if not uuid.startswith("GPU-") or len(cells) != len(_NVIDIA_COLUMNS):
            continue
        found[uuid] = {
            name: value * factor
            for (name, factor), cell in zip(_NVIDIA_COLUMNS, cells, strict=True)
            if (value := _number(cell)) is not None
        }
    return found


def _busy_s(stat: str) -> float | None:
    """Seconds that all CPUs were busy together; waiting for a disk is idle, and guests are in user time already."""
    words = stat.split("\n", 1)[0].split()
    if not words or words[0] != "cpu" or len(words) < 5:
        return None
    numbers = [_number(word) or 0.0 for word in words[1:9]]
    idle = sum(numbers[3:5])
    return (sum(numbers) - idle) / JIFFIES_PER_S


def _meminfo(text: str) -> dict[str, int]:
    """Sizes in bytes by their names."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if isinstance(values.get(name), (int, float))), None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
