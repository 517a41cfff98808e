"""What is asked of Docker and what it tells, between our values and its forms. Pure."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount

from webapp.foundation.paths import ENGINE_SOCKET
from workers.runtime.base import SOCKET_PATH, ContainerFacts, ContainerSpec

LOG_FILE_SIZE = "10m"
LOG_FILES = "3"


def _mount(source: str, inside: str, *, read_only: bool) -> Mount:
    if source.startswith("/"):
        return Mount(inside, source, type="bind", read_only=read_only)
    volume, _, folder = source.partition("/")
    # Nothing of the image goes into the volume: only what jobs bring is there.
    return Mount(inside, volume, type="volume", read_only=read_only, subpath=folder or None, no_copy=bool(folder))


def host_config(spec: ContainerSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "init": spec.init,
        "cap_drop": ["ALL"],
        "cap_add": list(spec.add_capabilities) or None,
        "security_opt": ["no-new-privileges:true"],
        "read_only": spec.read_only_root,
        "tmpfs": dict.fromkeys(spec.tmpfs, "rw,nosuid,nodev,mode=1777"),
        "pids_limit": spec.pids,
        "restart_policy": {"Name": "no"},
        "log_config": LogConfig(type="json-file", config={"max-size": LOG_FILE_SIZE, "max-file": LOG_FILES}),
        "network_mode": spec.network if spec.network is not None else "none",
        "mounts": [_mount(source, inside, read_only=mode == "ro") for source, (inside, mode) in spec.mounts.items()],
    }
    if spec.memory_bytes:
        # The same limit for memory and swap: an engine that swaps is slower than one that fails.
        config |= {"mem_limit": spec.memory_bytes, "memswap_limit": spec.memory_bytes}
    if spec.cpu_count:
        config["nano_cpus"] = spec.cpu_count * 1_000_000_000
    if spec.shm_bytes:
        config["shm_size"] = spec.shm_bytes
    if spec.devices is not None:
        driver, ids = spec.devices
        which: dict[str, Any] = {"device_ids": list(ids)} if ids else {"count": -1}  # -1: all there are
        config["device_requests"] = [DeviceRequest(driver=driver, capabilities=[["gpu"]], **which)]
    if spec.device_nodes:
        config["devices"] = [f"{node}:{node}:rwm" for node in spec.device_nodes]
    if spec.groups:
        config["group_add"] = list(spec.groups)
    return config


def facts(item: Mapping[str, Any]) -> ContainerFacts:
    state = item["State"]
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = [
        (network.get("IPAMConfig") or {}).get("IPv4Address") or network.get("IPAddress") or ""
        for network in networks.values()
    ]
    has_ended = state["Status"] in ("exited", "dead")
    return ContainerFacts(
        id=item["Id"],
        name=item["Name"].lstrip("/"),
        status=state["Status"],
        labels=item["Config"].get("Labels") or {},
        image=item["Config"].get("Image", ""),
        exit_code=int(state.get("ExitCode", 0)) if has_ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        address=next((address for address in (*_sockets(item), *addresses) if address), ""),
        created_at=date(item.get("Created")),
        started_at=date(state.get("StartedAt")),
        finished_at=date(state.get("FinishedAt")),
    )


def _sockets(item: Mapping[str, Any]) -> Iterator[str]:
    for mount in item.get("Mounts") or []:
        if mount.get("Destination") == SOCKET_PATH:
            yield f"{mount['Source']}/{ENGINE_SOCKET}"


def date(text: str | None) -> datetime | None:
    """Docker's date with nanoseconds, which Python cuts to microseconds; year 1 means never."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))
