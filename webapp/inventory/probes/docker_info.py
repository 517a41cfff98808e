"""What `docker info` (GET /info) says about a host, before any container is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webapp.inventory.probes.devices import ProbeError

# Words in runtime names and CDI kinds ("nvidia.com/gpu=0") -> vendor
_CDI_VENDORS = {"nvidia.com": "nvidia", "amd.com": "amd", "intel.com": "intel"}
_RUNTIME_VENDORS = {"nvidia": "nvidia", "amd": "amd", "amd-container-runtime": "amd"}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine and its daemon."""

    daemon_id: str
    name: str
    cpus: int
    memory_bytes: int
    architecture: str  # "x86_64", "aarch64"
    operating_system: str
    kernel: str
    server_version: str
    storage_driver: str
    data_root: str
    runtimes: tuple[str, ...]
    default_runtime: str
    cdi_devices: tuple[str, ...]  # "nvidia.com/gpu=0"; Docker 28.2 and newer
    live_restore: bool
    rootless: bool
    memory_limits: bool  # whether containers can be given a memory limit
    running_containers: int
    warnings: tuple[str, ...]

    @property
    def likely_vendors(self) -> tuple[str, ...]:
        """Vendors whose GPUs the daemon can pass on, by what it says of itself.

        Docker before 28.2 says nothing where only NVIDIA's runtime hook is installed, so a GPU may be there all the
        same: a probe with a device request that fails at once ("could not select device driver") costs little.
        """
        named = {vendor for runtime, vendor in _RUNTIME_VENDORS.items() if runtime in self.runtimes}
        named |= {
            vendor for kind, vendor in _CDI_VENDORS.items() for device in self.cdi_devices if _is_of(device, kind)
        }
        return tuple(vendor for vendor in ("nvidia", "amd", "intel") if vendor in named)

    @property
    def platform(self) -> str:
        """In the words image indexes use: "linux/amd64"."""
        return "linux/" + {"x86_64": "amd64", "aarch64": "arm64"}.get(self.architecture, self.architecture)


def _is_of(device: str, vendor_domain: str) -> bool:
    return device.partition("/")[0] == vendor_domain


def parse(info: Mapping[str, Any]) -> HostFacts:
    """The facts out of the decoded reply. Raises ProbeError when it is not one of a Linux Docker daemon."""
    if not isinstance(info, Mapping) or not info.get("ServerVersion"):
        raise ProbeError("The host's Docker gave no usable answer to `docker info`.")
    if info.get("OSType", "linux") != "linux":
        raise ProbeError(f"The host's Docker runs {info['OSType']} containers; Modelyard needs Linux ones.")
    runtimes, devices = info.get("Runtimes"), info.get("DiscoveredDevices")
    security = _texts(info.get("SecurityOptions"))
    return HostFacts(
        daemon_id=_text(info, "ID"),
        name=_text(info, "Name"),
        cpus=_count(info, "NCPU"),
        memory_bytes=_count(info, "MemTotal"),
        architecture=_text(info, "Architecture"),
        operating_system=_text(info, "OperatingSystem"),
        kernel=_text(info, "KernelVersion"),
        server_version=_text(info, "ServerVersion"),
        storage_driver=_text(info, "Driver"),
        data_root=_text(info, "DockerRootDir"),
        runtimes=tuple(sorted(map(str, runtimes))) if isinstance(runtimes, Mapping) else (),
        default_runtime=_text(info, "DefaultRuntime"),
        cdi_devices=_cdi(devices),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        rootless=any("rootless" in option for option in security),
        memory_limits=bool(info.get("MemoryLimit", True)),
        running_containers=_count(info, "ContainersRunning"),
        warnings=_texts(info.get("Warnings")),
    )


def _text(info: Mapping[str, Any], key: str) -> str:
    value = info.get(key)
    return value if isinstance(value, str) else ""


def _count(info: Mapping[str, Any], key: str) -> int:
    value = info.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def _cdi(devices: Any) -> tuple[str, ...]:
    entries = devices if isinstance(devices, list) else []
    found = (entry.get("ID") for entry in entries if isinstance(entry, Mapping) and entry.get("Source") == "cdi")
    return tuple(sorted(str(name) for name in found if name))
