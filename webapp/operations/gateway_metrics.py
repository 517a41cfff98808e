"""What the gateway processes of this machine have counted, read from their private sockets."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from webapp.foundation import paths

TIMEOUT_S = 1.0
_QUESTION = b"GET /metrics HTTP/1.0\r\n\r\n"


def texts() -> dict[str, str]:
    """Each process's metrics in Prometheus' text format, by its number. Who does not answer is left out."""
    found = {}
    for path in sorted(paths.run_dir().glob("gateway-*.metrics.sock")):
        with contextlib.suppress(OSError, ValueError):
            found[path.name.split(".")[0].removeprefix("gateway-")] = _read(path)
    return found


def snapshot_ages() -> dict[str, float]:
    """Seconds since each gateway process last heard from web."""
    name = "modelyard_gateway_snapshot_age_seconds "
    lines = {number: text.splitlines() for number, text in texts().items()}
    return {n: float(line.removeprefix(name)) for n, ls in lines.items() for line in ls if line.startswith(name)}


def _read(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.settimeout(TIMEOUT_S)
        endpoint.connect(str(path))
        endpoint.sendall(_QUESTION)
        answer = b"".join(iter(lambda: endpoint.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ValueError("the gateway did not answer with metrics")
    return body.decode()
