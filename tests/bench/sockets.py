"""`python -m tests.bench.sockets`: an engine without a network, asked over its socket, beside one on a Docker bridge.

The same engine runs in two containers of one Docker engine, behind one gateway; the two take turns in short rounds. A
figure is the median of the rounds' ratios, and the cost of the gateway's process is what is compared.
"""

import argparse
import io
import socket
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.bench.gateway import stage
from tests.parts import figures
from tests.parts.dockerd import running_dockerd

NUMBER = 92
IMAGE = "modelyard-test/bench-engine:1"
ENGINE = ["/engine", "8080", str(stage.TOKENS), str(stage.PAUSE_US), str(stage.BURST)]
# The two ways, in the order that a ratio divides them.
WAYS = ("socket", "bridge")
CONNECTIONS = 400


@dataclass
class Ways:
    """A gateway with a deployment for each way, and the engines' own addresses."""

    folder: Path
    gateway: stage.Subject
    path: str
    address: tuple[str, int]

    def cost_us(self, request: str, lines: int) -> Callable[[str], float]:
        """Microseconds of the gateway's CPU per request of that kind."""

        def measured(way: str) -> float:
            before = self.gateway.cpu_s()
            finished = stage.load(self.folder, self.gateway.port, f"{request}-{way}", lines, 1.5)["finished"]
            return (self.gateway.cpu_s() - before) / finished * 1e6

        return measured

    def latency_us(self, way: str) -> float:
        """p50 of one client's JSON requests."""
        return float(stage.load(self.folder, self.gateway.port, f"json-{way}", 1, 0.7)["p50_us"])

    def connection_us(self, way: str) -> float:
        """p50 of a new connection to the engine with one request and its answer."""
        request = (self.folder / f"json-{way}").read_bytes()

        def once() -> float:
            began = time.perf_counter()
            with socket.socket(socket.AF_UNIX if way == "socket" else socket.AF_INET) as line:
                line.connect(self.path if way == "socket" else self.address)
                line.sendall(request)
                line.recv(65536)
            return (time.perf_counter() - began) * 1e6

        return statistics.median(once() for _ in range(CONNECTIONS))


def measure(ways: Ways, rounds: int) -> Iterator[figures.Figure]:
    """Each figure: what the socket costs, as a share of what the bridge costs."""
    asked = {
        "new connection to the engine and one answer, p50": ways.connection_us,
        "latency p50 of a JSON request": ways.latency_us,
        "CPU per JSON request": ways.cost_us("json", 32),
        "CPU per stream of 128 chunks": ways.cost_us("stream", 32),
    }
    for what, ask in asked.items():
        pairs = [tuple(ask(way) for way in WAYS) for _ in range(rounds)]
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        detail = f"{ours:.0f} us beside {theirs:.0f} us"
        yield figures.Figure(f"socket beside bridge: {what}", ratio, stage.NOISE, "x", detail)


@contextmanager
def build(folder: Path) -> Iterator[Ways]:
    stage.compile_tools(folder, "-static")
    with ExitStack() as stack:
        engine = stack.enter_context(running_dockerd(NUMBER))
        client = docker.DockerClient(engine.endpoint, timeout=60)
        stack.callback(client.close)
        client.api.import_image_from_data(_tar(folder / "engine"), repository=IMAGE[:-2], tag="1")
        shared = {str(folder): {"bind": "/run/modelyard", "mode": "rw"}}
        core = {"cpuset_cpus": str(stage.helper_core()), "detach": True}
        client.containers.run(IMAGE, [*ENGINE, "/run/modelyard/e.sock"], network_mode="none", volumes=shared, **core)
        bridged = client.containers.run(IMAGE, [*ENGINE, "any"], **core)
        bridged.reload()
        address = bridged.attrs["NetworkSettings"]["IPAddress"]
        path = str(folder / "e.sock")
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        engines = {"socket": f"unix://{path}", "bridge": f"http://{address}:8080"}
        for way in WAYS:
            stage.write_request(folder, f"json-{way}", way, stream=False)
            stage.write_request(folder, f"stream-{way}", way, stream=True)
        gateway = stack.enter_context(stage.running_gateway(folder, port, engines))
        stage.wait_for(port)
        yield Ways(folder, stage.Subject("gateway", gateway.pid, port, port), path, (address, 8080))


def _tar(program: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(program, "engine")
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sockets", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="more rounds, less noise; about 12 s each")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder, build(Path(folder)) as ways:
        for figure in measure(ways, rounds):
            figures.note(figure)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
