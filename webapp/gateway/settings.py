"""What one gateway process was told by its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from webapp.foundation import paths
from webapp.gateway.http import cors

MEBIBYTE = 1024 * 1024
MAX_PROCESSES = 16
# What is kept of the last snapshot, in a file each; the release before had one file.
PARTS = ("principals", "routes")
BEFORE = "snapshot"


class SettingError(Exception):
    """A MODELYARD_ variable holds something the gateway cannot use; the text names the variable."""


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in seconds."""

    index: int
    processes: int
    bind: str
    port: int
    tls_certificate: Path | None
    tls_key: Path | None
    public_scheme: str
    max_body_bytes: int
    max_buffered_bytes: int
    max_connections: int
    max_key_requests: int
    header_timeout_s: float
    idle_timeout_s: float
    client_stall_timeout_s: float
    drain_s: float
    poll_s: float
    # Networks of proxies that are believed about whom they speak for.
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    # Origins whose pages may call the API from a browser; ("*",) for all of them.
    cors_origins: tuple[str, ...] = ()


def from_environment(index: int, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read every setting once; raises SettingError with the variable's name."""
    certificate, key = environment.get("MODELYARD_TLS_CERT"), environment.get("MODELYARD_TLS_KEY")
    if bool(certificate) != bool(key):
        raise SettingError("MODELYARD_TLS_CERT and MODELYARD_TLS_KEY belong together: set both or neither")
    processes = _number(environment, "MODELYARD_GATEWAY_PROCESSES", min(os.cpu_count() or 1, 4), 1, MAX_PROCESSES)
    if not 0 <= index < processes:
        raise SettingError(f"--index {index} is outside 0..{processes - 1} (MODELYARD_GATEWAY_PROCESSES={processes})")
    return Settings(
        index=index,
        processes=processes,
        bind=environment.get("MODELYARD_BIND") or "127.0.0.1",
        port=_number(environment, "MODELYARD_PORT", 8000, 1, 65535),
        tls_certificate=Path(certificate) if certificate else None,
        tls_key=Path(key) if key else None,
        public_scheme=_public_scheme(environment, bool(certificate)),
        max_body_bytes=_number(environment, "MODELYARD_MAX_BODY_BYTES", 64 * MEBIBYTE, 1024, 4096 * MEBIBYTE),
        max_buffered_bytes=_number(environment, "MODELYARD_MAX_BUFFERED_BYTES", 512 * MEBIBYTE, MEBIBYTE, 1 << 40),
        max_connections=_number(environment, "MODELYARD_MAX_CONNECTIONS", 10_000, 1, 1_000_000),
        max_key_requests=_number(environment, "MODELYARD_MAX_KEY_REQUESTS", 200, 1, 1_000_000),
        header_timeout_s=_seconds(environment, "MODELYARD_HEADER_TIMEOUT_S", 10),
        idle_timeout_s=_seconds(environment, "MODELYARD_IDLE_TIMEOUT_S", 75),
        client_stall_timeout_s=_seconds(environment, "MODELYARD_CLIENT_STALL_TIMEOUT_S", 300),
        drain_s=_seconds(environment, "MODELYARD_DRAIN_S", 300),
        poll_s=_seconds(environment, "MODELYARD_POLL_S", 1),
        trusted_proxies=_networks(environment, "MODELYARD_TRUSTED_PROXIES"),
        cors_origins=_origins(environment, "MODELYARD_CORS_ORIGINS"),
    )


def load_table_file() -> Path:
    return paths.run_dir() / "gateway-load.table"


def key_table_file() -> Path:
    return paths.run_dir() / "gateway-keys.table"


def metrics_socket(index: int) -> Path:
    return paths.run_dir() / f"gateway-{index}.metrics.sock"


def port_lock(port: int, kind: str) -> Path:
    return paths.run_dir() / f"gateway-port-{port}.{kind}.lock"


def usage_dir() -> Path:
    return paths.gateway_dir() / "usage"


def snapshot_file(part: str) -> Path:
    """Where a part of the last snapshot is kept: one of PARTS, or BEFORE."""
    return paths.gateway_dir() / f"{part}.sealed"


def snapshot_files() -> tuple[Path, ...]:
    """All that a gateway may start from, whether it is there or not."""
    return tuple(snapshot_file(part) for part in (*PARTS, BEFORE))


def access_log_file(index: int) -> Path:
    return paths.log_dir() / f"gateway-{index}.access.jsonl"


def _public_scheme(environment: Mapping[str, str], tls_here: bool) -> str:
    """What the browser used. A terminator in front of us is announced by an https MODELYARD_URL."""
    return "https" if tls_here or environment.get("MODELYARD_URL", "").startswith("https://") else "http"


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise SettingError(f"{name}={text!r} is not a whole number from {low} to {high}")
    return int(text)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 86_400:
        raise SettingError(f"{name}={text!r} is not a number of seconds from 0 to 86400")
    return value


def _networks(environment: Mapping[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """From `10.0.0.0/8, 127.0.0.1`."""
    parts = [part.strip() for part in environment.get(name, "").split(",") if part.strip()]
    try:
        found = tuple(ip_network(part, strict=False) for part in parts)
    except ValueError as error:
        raise SettingError(f"{name} lists networks like 10.0.0.0/8, separated by commas: {error}") from error
    if any(network.prefixlen == 0 for network in found):
        raise SettingError(f"{name} names everybody: then anyone could choose the address that is written down")
    return found


def _origins(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return cors.read_origins(environment.get(name, ""))
    except ValueError as error:
        raise SettingError(
            f"{name} lists origins like https://app.example, separated by commas, or *: {error}"
        ) from error
