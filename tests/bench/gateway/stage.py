"""What is measured and what measures it: engine and load generator in C, nginx, one gateway process."""

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts.memory import pss_bytes

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
TOKENS = 128
PAUSE_US = 50_000
BURST = 4
# What a median of rounds differs by when nothing has changed: "not worse" is no more than this.
NOISE = 1.05
KEY = "my_benchkey_" + "b" * 43

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_rlimit_nofile 65536;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream fast {{ server 127.0.0.1:{engine}; keepalive 256; }}
  upstream slow {{ server 127.0.0.1:{engine_slow}; keepalive 8192; }}
  server {{ listen 127.0.0.1:{nginx} backlog=4096; location / {{ proxy_pass http://fast;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
  server {{ listen 127.0.0.1:{nginx_slow} backlog=4096; location / {{ proxy_pass http://slow;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
}}
"""

# What OpenAI's Python client sends.
REQUEST = """POST /v1/chat/completions HTTP/1.1\r
Host: 127.0.0.1\r
Accept: application/json\r
Accept-Encoding: gzip, deflate\r
Connection: keep-alive\r
User-Agent: OpenAI/Python 3.54.0\r
X-Stainless-Lang: python\r
X-Stainless-Package-Version: 3.54.0\r
X-Stainless-OS: Linux\r
X-Stainless-Arch: x64\r
X-Stainless-Runtime: CPython\r
X-Stainless-Runtime-Version: 3.11.7\r
X-Stainless-Async: async:asyncio\r
X-Stainless-Retry-Count: 0\r
X-Stainless-Read-Timeout: 600\r
Authorization: Bearer {key}\r
Content-Type: application/json\r
Content-Length: {length}\r
\r
{body}"""


@dataclass(frozen=True)
class Subject:
    """Something between client and engine. `pid` is the process whose CPU time counts."""

    name: str
    pid: int
    port: int
    slow_port: int

    def cpu_s(self) -> float:
        """CPU time of all threads since start."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory_bytes(self) -> int:
        return pss_bytes(self.pid)


@dataclass
class Stage:
    """Everything is running."""

    folder: Path
    engine_port: int
    nginx: Subject
    gateway: Subject

    def load(self, port: int, request: str, lines: int, seconds: float, **more: float) -> Any:
        return load(self.folder, port, request, lines, seconds, **more)

    def metric(self, name: str) -> float:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.folder / "state" / "run" / "gateway-0.metrics.sock"))
            line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            text = b"".join(iter(lambda: line.recv(65536), b"")).decode()
        rows = [row.split() for row in text.splitlines()]
        return next(float(row[1]) for row in rows if row and row[0] == f"modelyard_gateway_{name}")


def load(
    folder: Path, port: int, request: str, lines: int, seconds: float, warm_s: float = 0, ramp_ms: float = 0
) -> Any:
    """One run of the load generator; raises when anything failed, because figures of failures mean nothing."""
    command = [folder / "load", port, lines, seconds, warm_s, ramp_ms, folder / request, TOKENS - 8]
    answer = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, preexec_fn=_pin(helper_core())
    )
    result = json.loads(answer.stdout)
    if result["failed"] or result["refused"] or result["short"] or not (result["finished"] or result["tokens"]):
        raise RuntimeError(f"the load on port {port} did not go well: {result}")
    return result


@contextmanager
def build(folder: Path) -> Iterator[Stage]:
    """Start all parts, and stop them whatever happens."""
    compile_tools(folder)
    engine, nginx, nginx_slow, gateway = _free_ports()
    write_request(folder, "json", "fast", stream=False)
    write_request(folder, "stream", "fast", stream=True)
    write_request(folder, "slow", "slow", stream=True)
    with ExitStack() as stack:
        command = [folder / "engine", str(engine), str(TOKENS), str(PAUSE_US), str(BURST)]
        stack.enter_context(_running(command, helper_core()))
        ports = {"engine": engine, "engine_slow": engine + 1, "nginx": nginx, "nginx_slow": nginx_slow}
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, **ports))
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
        master = stack.enter_context(_running([program, "-c", folder / "nginx.conf", "-p", folder], 0))
        engines = {"fast": f"http://127.0.0.1:{engine}", "slow": f"http://127.0.0.1:{engine + 1}"}
        process = stack.enter_context(running_gateway(folder, gateway, engines))
        for port in (engine, engine + 1, nginx, nginx_slow, gateway):
            wait_for(port)
        yield Stage(
            folder,
            engine,
            Subject("nginx", _only_child(master.pid), nginx, nginx_slow),
            Subject("gateway", process.pid, gateway, gateway),
        )


def compile_tools(folder: Path, *options: str) -> None:
    """`engine` and `load`, as programs in `folder`."""
    for tool in ("engine", "load"):
        subprocess.run(["cc", "-O2", *options, "-o", folder / tool, HERE / f"{tool}.c"], check=True)


@contextmanager
def running_gateway(folder: Path, port: int, engines: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """One process that knows its routing table from disk; there is no web. `engines`: address of each deployment."""
    state = folder / "state"
    (state / "secrets").mkdir(parents=True)
    (state / "secrets" / "master.key").write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    environment = {
        **os.environ,
        "MODELYARD_STATE_DIR": str(state),
        "MODELYARD_PORT": str(port),
        "MODELYARD_GATEWAY_PROCESSES": "1",
        "MODELYARD_MAX_KEY_REQUESTS": "100000",
    }
    # Each part takes its own members.
    (folder / "snapshot.json").write_text(json.dumps(_snapshot(engines)))
    seal = "import sys, pathlib; from webapp.gateway import settings\nfrom webapp.gateway.routing import vault\n"
    seal += "for part in ('principals', 'routes'):\n"
    seal += "    vault.save(settings.snapshot_file(part), pathlib.Path(sys.argv[1]).read_bytes())"
    subprocess.run([sys.executable, "-c", seal, folder / "snapshot.json"], cwd=REPOSITORY, env=environment, check=True)
    with _running([sys.executable, "-m", "webapp.gateway"], 0, cwd=REPOSITORY, env=environment) as process:
        yield process


def _snapshot(engines: dict[str, str]) -> dict[str, Any]:
    """2000 keys and deployments with two replicas each, so that looking up and choosing are real."""

    def deployment(number: int, name: str, url: str) -> dict[str, Any]:
        replicas = [{"id": number * 10 + n, "url": url, "state": "ready"} for n in range(2)]
        common = {"team": 1, "endpoints": ["chat/completions"], "upstream_model": name}
        return {"id": number, "name": name, "replicas": replicas, **common}

    keys = [KEY, *(f"my_{n:08d}_{'x' * 43}" for n in range(1999))]
    return {
        "version": "1",
        "teams": [{"id": 1, "slug": "bench"}],
        "keys": [
            {"id": n, "user": n, "team": 1, "scopes": ["inference"], "digest": hashlib.sha256(key.encode()).hexdigest()}
            for n, key in enumerate(keys)
        ],
        "deployments": [deployment(number, *engine) for number, engine in enumerate(engines.items(), 1)],
    }


def write_request(folder: Path, name: str, model: str, *, stream: bool) -> None:
    """What the load generator sends, as the file `name`."""
    messages = [{"role": "user", "content": "Tell me about gateways. " * 12}]
    members = {"model": model, "messages": messages} | ({"stream": True} if stream else {})
    body = json.dumps(members, separators=(",", ":"))
    (folder / name).write_text(REQUEST.format(key=KEY, length=len(body), body=body), newline="")


@contextmanager
def _running(command: list[Any], core: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        list(map(str, command)), preexec_fn=_pin(core), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pin(core: int) -> Any:
    allowed = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {allowed[core % len(allowed)]})


def helper_core() -> int:
    """Engine and load generator share the last core, the subjects have the first."""
    return len(os.sched_getaffinity(0)) - 1


def _free_ports() -> tuple[int, int, int, int]:
    """The engine takes the port after its own too."""
    holders = [socket.socket() for _ in range(4)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [int(holder.getsockname()[1]) for holder in holders]
    for holder in holders:
        holder.close()
    engine = next(port for port in range(20_000, 30_000, 2) if _is_free(port) and _is_free(port + 1))
    return engine, ports[0], ports[1], ports[2]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 15
    while _is_free(port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(0.02)


def _only_child(pid: int) -> int:
    """nginx's worker."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise RuntimeError("nginx has no worker")
