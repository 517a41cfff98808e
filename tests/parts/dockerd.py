"""A real Docker engine of a test's own: its own bridge, data root and socket, and nothing left behind."""

import contextlib
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker

SOURCE = Path(__file__).parent / "fake_engine" / "engine.c"
FAKE_ENGINE = "modelyard-test/engine:1"
# Two checkouts that run such tests at once each set their own (17 to 31), so that bridges and subnets do not meet.
NETWORK = int(os.environ.get("MODELYARD_TEST_NETWORK", "30"))


class Dockerd:
    """One engine in a folder of its own below /tmp (socket paths must be short). `number` picks bridge and subnet."""

    def __init__(self, number: int, live_restore: bool = False, nvidia: bool = False) -> None:
        self.number = number
        self.nvidia = nvidia
        self.root = Path(tempfile.mkdtemp(prefix=f"mydk{number}-"))
        self.socket = self.root / "docker.sock"
        self.endpoint = f"unix://{self.socket}"
        self.bridge = f"mytest{NETWORK}-{number}"
        self.subnet = f"172.{NETWORK}.{number}.0/24"
        self.address = f"172.{NETWORK}.{number}.1"
        self.live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self._make_bridge()
        argv = [
            "dockerd", "--host", self.endpoint, "--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec",
            "--pidfile", f"{self.root}/pid", "--bridge", self.bridge, "--userland-proxy=false",
        ]  # fmt: skip
        if self.live_restore:
            argv.append("--live-restore")
        environment = dict(os.environ)
        if self.nvidia:
            environment["PATH"] = f"{self._make_nvidia_hook()}:{environment['PATH']}"
            argv.append(f"--add-runtime=nvidia={shutil.which('runc')}")
        (self.root / "pid").unlink(missing_ok=True)
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True, env=environment)
        self._wait_until_it_answers()

    def _make_nvidia_hook(self) -> Path:
        """With a program of this name Docker takes requests for GPUs; this one does nothing about them."""
        hook = self.root / "bin" / "nvidia-container-runtime-hook"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\ncat >/dev/null\n")
        hook.chmod(0o755)
        return hook.parent

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert self._process is not None and self._process.poll() is None, (self.root / "log").read_text()[-2000:]
            if self._answers():
                return
            time.sleep(0.05)
        raise AssertionError((self.root / "log").read_text()[-2000:])

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                return b" 200 " in connection.recv(100)
            except OSError:
                return False

    def client(self) -> docker.APIClient:
        return docker.APIClient(self.endpoint, timeout=300)

    def freeze(self) -> None:
        """Stop answering without dying."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Die at once, as after `kill -9`: containers lose their engine, not their lives."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._forget_dead_containerd()

    def _forget_dead_containerd(self) -> None:
        """It dies with dockerd; where nobody reaps it, a zombie of that number would pass for a running one."""
        pid_file = self.root / "exec" / "containerd" / "containerd.pid"
        stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")
        deadline = time.monotonic() + 5
        while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
            if time.monotonic() > deadline:
                return  # it lives on, and the next dockerd takes it over
            time.sleep(0.02)
        pid_file.unlink()

    def remove_containers(self) -> None:
        with contextlib.closing(self.client()) as client:
            for container in client.containers(all=True):
                with contextlib.suppress(docker.errors.APIError):
                    client.remove_container(container["Id"], force=True)

    def destroy(self) -> None:
        """Remove every container, end the engine and take its bridge, mounts and files away."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            with contextlib.suppress(docker.errors.DockerException, OSError):
                self.remove_containers()
                with contextlib.closing(self.client()) as client:
                    client.prune_networks()
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._end_leftovers()
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(str(self.root))), key=len, reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def _end_leftovers(self) -> None:
        """Shims (and with them containers) of an engine that was killed and could not be started again."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self.root}/".encode() not in (entry / "cmdline").read_bytes():
                    continue
                children = (entry / "task" / entry.name / "children").read_text().split()
                for pid in [*children, entry.name]:
                    os.kill(int(pid), signal.SIGKILL)

    def _make_bridge(self) -> None:
        if Path(f"/sys/class/net/{self.bridge}").exists():
            return
        for argv in (
            ["ip", "link", "add", self.bridge, "type", "bridge"],
            ["ip", "addr", "add", f"{self.address}/24", "dev", self.bridge],
            ["ip", "link", "set", self.bridge, "up"],
        ):
            subprocess.run(argv, check=True, capture_output=True)

    def import_fake_tools(self, says: bytes = b"") -> None:
        """An image of the name that jobs run in, whose python3 plays the fetch program and `says` what probes print."""
        with contextlib.closing(self.client()) as client:
            client.import_image_from_data(
                _tar_with_engine(says), repository="modelyard/tools", tag="1", changes=["ENV PATH=/bin"]
            )

    def import_fake_engine(self, tag: str = FAKE_ENGINE, **ways: object) -> str:
        """An image of the tiny engine that behaves as told: load_ms=300 becomes FAKE_LOAD_MS=300."""
        environment = [f'ENV FAKE_{name.upper()}="{value}"' for name, value in ways.items()]
        changes = ['ENTRYPOINT ["/engine"]', "ENV PATH=/bin", *environment]
        with contextlib.closing(self.client()) as client:
            client.import_image_from_data(
                _tar_with_engine(), repository=tag.rsplit(":", 1)[0], tag=tag.rsplit(":", 1)[1], changes=changes
            )
        return tag


@contextlib.contextmanager
def running_dockerd(number: int, live_restore: bool = False, nvidia: bool = False) -> Iterator[Dockerd]:
    engine = Dockerd(number, live_restore, nvidia)
    try:
        engine.start()
        yield engine
    finally:
        engine.destroy()


def compiled_fake_engine() -> Path:
    """The tiny engine as one static program; compiled once per content."""
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    program = Path(tempfile.gettempdir()) / f"modelyard-fake-engine-{os.getuid()}-{key}"
    if not program.exists():
        draft = program.with_name(f"{program.name}.{os.getpid()}")
        subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", str(draft), str(SOURCE)], check=True)
        draft.replace(program)
    return program


def _tar_with_engine(says: bytes = b"") -> bytes:
    content = compiled_fake_engine().read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("tmp", "models", "import"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in ("engine", "bin/python3"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("says")
        entry.size, entry.mode = len(says), 0o644
        tar.addfile(entry, io.BytesIO(says))
    return buffer.getvalue()
