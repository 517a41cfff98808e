"""The processes of one machine: their commands, order, readiness and time to end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from webapp.foundation import paths
from workers.launcher import probes
from workers.launcher.progress import LauncherError
from workers.launcher.supervisor import ProcessSpec

MOST_GATEWAYS = 4


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What decides the process table; see `from_environ` for the variables."""

    bind: str
    port: int
    url: str
    tls: bool
    redis_url: str | None
    gateways: int
    docker_host: str
    valkey: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], docker_host: str, valkey: str) -> RunSettings:
        """MODELYARD_BIND, _PORT, _URL, _TLS_CERT, _REDIS_URL, _GATEWAY_PROCESSES, or their defaults."""
        bind = environ.get("MODELYARD_BIND") or "127.0.0.1"
        port = int(environ.get("MODELYARD_PORT") or 8000)
        tls = bool(environ.get("MODELYARD_TLS_CERT"))
        address = local_address(bind)
        name = f"[{address}]" if ":" in address else address
        cores = len(os.sched_getaffinity(0))
        return cls(
            bind=bind,
            port=port,
            url=environ.get("MODELYARD_URL") or f"{'https' if tls else 'http'}://{name}:{port}",
            tls=tls,
            redis_url=environ.get("MODELYARD_REDIS_URL") or None,
            gateways=_number(environ, "MODELYARD_GATEWAY_PROCESSES", min(cores, MOST_GATEWAYS)),
            docker_host=docker_host,
            valkey=valkey,
        )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) <= 64:
        raise LauncherError(f"{name} is {text!r}: give a number from 1 to 64.")
    return int(text)


def local_address(bind: str) -> str:
    """The address this machine reaches itself by when it listens on `bind`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(bind, bind)  # noqa: S104 - a comparison


def table(settings: RunSettings, environ: Mapping[str, str] = os.environ) -> list[ProcessSpec]:
    """Every process in starting order. What is first is stopped last."""
    env = {
        **environ,
        "DOCKER_HOST": settings.docker_host,
        "MODELYARD_GATEWAY_PROCESSES": str(settings.gateways),
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "PYTHONUNBUFFERED": "1",
        # glibc gives every thread a heap of its own, and keeps what it held; Python lets one thread run at a time.
        "MALLOC_ARENA_MAX": environ.get("MALLOC_ARENA_MAX") or "1",
    }
    broker = [] if settings.redis_url else [_valkey(settings.valkey, env)]
    needs = tuple(spec.name for spec in broker)
    gateways = [_gateway(settings, index, env) for index in range(settings.gateways)]
    return [*broker, _web(settings, env, needs), *gateways, *_workers(env, needs)]


def _valkey(binary: str, env: Mapping[str, str]) -> ProcessSpec:
    folder = paths.state_dir() / "valkey"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = str(paths.broker_socket())
    # A private socket and no port; what is queued survives a crash but for the last second; never drop a message.
    command = [binary, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "600", "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory", "256mb"]
    command += ["--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", ""]
    return ProcessSpec("valkey", command, env, probe=probes.valkey(paths.broker_socket()), stop_s=10)


def _web(settings: RunSettings, env: Mapping[str, str], needs: tuple[str, ...]) -> ProcessSpec:
    command = [sys.executable, "-m", "uvicorn", "webapp.asgi:application", "--uds", str(paths.web_socket())]
    # Only '*' trusts a peer on a unix socket; the gateway replaces the headers, so nothing forged gets here.
    command += ["--proxy-headers", "--forwarded-allow-ips=*", "--ws", "websockets-sansio", "--no-access-log"]
    # Pages say which topics they follow and that they are alive; uvicorn would take 16 MiB at once.
    command += ["--ws-max-size", "65536"]
    command += ["--timeout-graceful-shutdown", "5"]
    host = urlsplit(settings.url).netloc
    probe = probes.http_over_unix(paths.web_socket(), "/healthz", host)
    return ProcessSpec("web", command, env, after=needs, probe=probe, stop_s=10)


def _gateway(settings: RunSettings, index: int, env: Mapping[str, str]) -> ProcessSpec:
    command = [sys.executable, "-m", "webapp.gateway", "--index", str(index)]
    host = urlsplit(settings.url).netloc
    probe = probes.http_over_tcp(local_address(settings.bind), settings.port, "/healthz", host, tls=settings.tls)
    name = f"gateway-{index}" if settings.gateways > 1 else "gateway"
    return ProcessSpec(name, command, env, after=("web",), probe=probe, stop_s=15)


def _workers(env: Mapping[str, str], needs: tuple[str, ...]) -> list[ProcessSpec]:
    worker = [sys.executable, "-m", "workers"]
    beat = [sys.executable, "-m", "workers.beat"]
    watcher = [sys.executable, "-m", "workers.watcher"]
    # Celery loads Django wherever this variable stands; the clock needs none of it and is 50 MB smaller without.
    without_django = {name: value for name, value in env.items() if name != "DJANGO_SETTINGS_MODULE"}
    return [
        ProcessSpec("worker", worker, env, after=needs, ready_line=r"\bready\b", stop_s=30),
        ProcessSpec("beat", beat, without_django, after=(*needs, "worker"), stop_s=5),
        ProcessSpec("watcher", watcher, env, after=(*needs, "web"), stop_s=10),
    ]


def check_state_dir(folder: Path) -> str | None:
    """What is wrong with the state folder, in one sentence, or None."""
    longest = len(str(folder / "docker" / "docker.sock").encode())
    if longest > 107:
        return f"The state folder's path is {longest - 107} bytes too long for a socket in it: set MODELYARD_STATE_DIR."
    return None
