"""What can be measured, in which unit, and how long which resolution is kept. Pure."""

from typing import NamedTuple


class Measure(NamedTuple):
    """`title` names the chart, `label` the line in it when there is more than one measure in it."""

    title: str
    unit: str
    label: str = ""


MEASURES = {
    "cpu_cores": Measure("CPU", "cores"),
    # Without the page cache: what would be missing if it were taken away.
    "memory_bytes": Measure("Memory", "bytes"),
    # Files that are mapped and in memory, model weights above all; the kernel may drop them and read them again.
    "mapped_bytes": Measure("Memory", "bytes", "page cache (mmap)"),
    "disk_free_bytes": Measure("Free disk", "bytes"),
    "busy_percent": Measure("GPU utilisation", "%"),
    "gpu_memory_bytes": Measure("GPU memory", "bytes"),
    "power_watts": Measure("GPU power", "W"),
    "temperature_c": Measure("GPU temperature", "°C"),
    "requests_running": Measure("Running and waiting requests", "requests", "running"),
    "requests_waiting": Measure("Running and waiting requests", "requests", "waiting"),
    "kv_cache_percent": Measure("KV cache usage", "%"),
    "prompt_tokens_per_s": Measure("Token throughput (engine)", "tokens/s", "prompt"),
    "completion_tokens_per_s": Measure("Token throughput (engine)", "tokens/s", "completion"),
}


class Resolution(NamedTuple):
    """One row every `every_s`, kept for `kept_s`."""

    every_s: int
    kept_s: int


HOUR, DAY = 3600, 86_400
# A little longer than the charts show, so that their left edge is not eaten away.
RESOLUTIONS = (Resolution(10, HOUR + 300), Resolution(60, DAY + HOUR), Resolution(600, 30 * DAY + HOUR))
FINEST_S = RESOLUTIONS[0].every_s


class Window(NamedTuple):
    """A range of the charts: which rows it reads, and how far apart its points are."""

    length_s: int
    resolution_s: int
    step_s: int


WINDOWS = {"1h": Window(HOUR, 10, 10), "24h": Window(DAY, 60, 120), "30d": Window(30 * DAY, 600, HOUR)}
WINDOW_TITLES = {"1h": "1 hour", "24h": "24 hours", "30d": "30 days"}
