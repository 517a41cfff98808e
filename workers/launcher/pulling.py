"""A pull that ends: within a bound, and quickly when there is no network."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from typing import Any

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from workers.launcher.progress import Progress, silent

CONNECT_LIMIT_S = 5.0
STALL_LIMIT_S = 60.0
DEFAULT_LIMIT_S = 300.0
REGISTRY_ADDRESS = {"docker.io": "registry-1.docker.io"}


def pull(client: docker.DockerClient, reference: str, on_progress: Progress = silent) -> str | None:
    """Pull `reference`; None when it is there, else one line saying why not.

    Never longer than MODELYARD_PULL_LIMIT_S (300); a registry that does not take a connection costs about 5 s.
    """
    limit_s = float(os.environ.get("MODELYARD_PULL_LIMIT_S") or DEFAULT_LIMIT_S)
    registry = reference.split("/", 1)[0]
    unreachable = _unreachable(client, REGISTRY_ADDRESS.get(registry, registry))
    if unreachable:
        return unreachable
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()
    given_up = threading.Event()
    threading.Thread(target=_read_events, args=(client, reference, events, given_up), daemon=True).start()
    deadline = time.monotonic() + limit_s
    layers: dict[str, tuple[int, int]] = {}
    try:
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return f"not finished after {limit_s:.0f} s"
            event = events.get(timeout=min(STALL_LIMIT_S, left_s))
            if event is None:
                return None
            if "error" in event:
                return str(event["error"])
            on_progress(_words(event, layers))
    except queue.Empty:
        return f"nothing heard for {min(STALL_LIMIT_S, limit_s):.0f} s"
    finally:
        given_up.set()


def _read_events(
    client: docker.DockerClient, reference: str, events: queue.Queue[dict[str, Any] | None], given_up: threading.Event
) -> None:
    """Feed the pull's lines into `events`, None at its end. A thread, because the SDK reads without any timeout."""
    repository, tag = reference.rsplit(":", 1)
    try:
        for event in client.api.pull(repository, tag=tag, stream=True, decode=True):
            events.put(event)
            if given_up.is_set():
                # Closing the stream makes the engine cancel the pull.
                return
        events.put(None)
    except (DockerException, RequestException, OSError) as error:
        events.put({"error": str(error)})


def _unreachable(client: docker.DockerClient, host: str) -> str | None:
    """Why the registry cannot be reached from here, or None. An engine behind a proxy or elsewhere is asked itself."""
    facts: dict[str, Any] = client.info()
    if facts.get("HttpsProxy") or not client.api.base_url.startswith("http+docker"):
        return None
    try:
        name, _, port = host.partition(":")
        socket.create_connection((name, int(port or 443)), timeout=CONNECT_LIMIT_S).close()
    except OSError as error:
        return f"no connection to {host} ({error})"
    return None


def _words(event: dict[str, Any], layers: dict[str, tuple[int, int]]) -> str:
    detail = event.get("progressDetail") or {}
    if event.get("id") and detail.get("total") and event.get("status") == "Downloading":
        layers[event["id"]] = (int(detail["current"]), int(detail["total"]))
    done, total = (sum(pair[side] for pair in layers.values()) for side in (0, 1))
    return f"{event.get('status', 'pulling')}, {done >> 20} of {total >> 20} MiB" if total else "pulling"
