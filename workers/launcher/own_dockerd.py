"""Starts and stops the Docker daemon that Modelyard brings where there is none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from workers.launcher.progress import LauncherError, Progress, silent

START_LIMIT_S = 40.0
STOP_LIMIT_S = 30.0
LOG_LIMIT_BYTES = 10 * 1024 * 1024
# Linux takes 107 bytes of a unix socket's path.
SOCKET_PATH_LIMIT = 107


def socket_path(state_dir: Path) -> Path:
    """Where our daemon listens."""
    return state_dir / "docker" / "docker.sock"


def url(state_dir: Path) -> str:
    """Our daemon's address in DOCKER_HOST's form."""
    return f"unix://{socket_path(state_dir)}"


def start(state_dir: Path, on_progress: Progress = silent) -> None:
    """Start our daemon and wait until it answers. Raises LauncherError with the end of its log.

    Without a storage driver that works on this file system (overlay on overlay) it falls back to plain copies.
    """
    folder = state_dir / "docker"
    folder.mkdir(parents=True, exist_ok=True)
    if len(str(socket_path(state_dir)).encode()) > SOCKET_PATH_LIMIT:
        raise LauncherError(f"{state_dir} is too long a path for a socket: set MODELYARD_STATE_DIR to a shorter one.")
    if running_pid(state_dir):
        on_progress("waiting for the Docker engine that is starting")
        if not _wait_until_it_answers(state_dir, START_LIMIT_S):
            raise LauncherError(f"Our dockerd runs but does not answer. See {folder / 'dockerd.log'}")
        return
    bridge = _bridge_of_our_own(state_dir) if _docker0_is_taken(state_dir) else None
    tail = ""
    for storage_driver in (None, "vfs"):
        on_progress("starting dockerd" + (f" with storage driver {storage_driver}" if storage_driver else ""))
        _write_config(state_dir, bridge, storage_driver)
        _spawn(folder)
        if _wait_until_it_answers(state_dir, START_LIMIT_S):
            return
        tail = _log_tail(folder)
        stop(state_dir)
        if "driver" not in tail and "overlay" not in tail:
            break
    raise LauncherError(f"dockerd did not start. The end of {folder / 'dockerd.log'}:\n{tail}")


def stop(state_dir: Path) -> bool:
    """Stop our daemon if it runs; True when it did. Somebody else's daemon is never touched."""
    pid = running_pid(state_dir)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    while running_pid(state_dir) == pid:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    _remove_bridge(state_dir)
    _remove_exec_root(exec_root(state_dir))
    # A later start decides about its bridge anew.
    (state_dir / "docker" / "daemon.json").unlink(missing_ok=True)
    return True


def running_pid(state_dir: Path) -> int | None:
    """The process id of our daemon, or None: a number in a file is believed only when /proc agrees."""
    folder = state_dir / "docker"
    try:
        number = (folder / "dockerd.pid").read_text()
    except OSError:
        return None
    return int(number) if _is_alive(number, str(folder / "daemon.json").encode()) else None


def start_by_systemd(default_socket: Path, on_progress: Progress = silent) -> None:
    """Start the distribution's docker service and wait for its socket. Raises LauncherError."""
    on_progress("systemctl start docker")
    done = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True)
    if done.returncode != 0 or not _answers(default_socket, time.monotonic() + START_LIMIT_S):
        raise LauncherError(f"`systemctl start docker` failed: {done.stderr.strip()}\nSee: journalctl -u docker -n 50")


def _write_config(state_dir: Path, bridge: str | None, storage_driver: str | None) -> None:
    folder = state_dir / "docker"
    config: dict[str, object] = {
        "hosts": [url(state_dir)],
        "data-root": str(folder / "data"),
        "exec-root": str(exec_root(state_dir)),
        "pidfile": str(folder / "dockerd.pid"),
        # Engines go on when the daemon is restarted or killed; published ports would die with docker-proxy.
        "live-restore": True,
        "userland-proxy": False,
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
    }
    if bridge:
        config["bridge"] = bridge
    if storage_driver:
        config["storage-driver"] = storage_driver
    # A file of our own: options of a machine-wide /etc/docker/daemon.json would clash.
    (folder / "daemon.json").write_text(json.dumps(config, indent=2))


def exec_root(state_dir: Path) -> Path:
    """Where our daemon keeps what must not outlive a reboot."""
    return Path("/run") / _short_name(state_dir)


def _forget_dead_containerd(root: Path) -> None:
    number = root / "containerd" / "containerd.pid"
    deadline = time.monotonic() + 5
    # It dies with its dockerd, a moment later.
    while time.monotonic() < deadline and number.exists():
        if not _is_alive(number.read_text(), b"containerd"):
            number.unlink()
        time.sleep(0.05)


def _is_alive(pid: str, word: bytes) -> bool:
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state not in "ZX" and word in Path(f"/proc/{int(pid)}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return False


def _spawn(folder: Path) -> None:
    # After a crash or a reboot a number in a file may be anybody's or a dead process's: dockerd would refuse to start
    # over its own, and wait in vain for its containerd's.
    (folder / "dockerd.pid").unlink(missing_ok=True)
    _forget_dead_containerd(exec_root(folder.parent))
    log = folder / "dockerd.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(folder / "dockerd.log.1")
    # setsid forks: neither Ctrl-C in our terminal nor our end reaches it, and it is nobody's child here.
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", "dockerd", "--config-file", str(folder / "daemon.json")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            check=True,
        )


def _wait_until_it_answers(state_dir: Path, limit_s: float) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if _answers(socket_path(state_dir), time.monotonic()):
            return True
        # It writes its pid file first thing: without one after a while it is dead.
        if running_pid(state_dir) is None and time.monotonic() - began > 3:
            return False
        time.sleep(0.05)
    return False


def _answers(path: Path, deadline: float) -> bool:
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(str(path))
            probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            if b" 200 " in probe.recv(200):
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)


def _docker0_is_taken(state_dir: Path) -> bool:
    """True when another daemon may own docker0: starting a second one without its own bridge would remove it."""
    with contextlib.suppress(OSError, ValueError):
        # Containers that outlived our daemon hang on the bridge it had.
        return "bridge" in json.loads((state_dir / "docker" / "daemon.json").read_text())
    if Path("/sys/class/net/docker0").exists():
        return True
    for entry in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if entry.read_text().strip() == "dockerd":
                return True
    return False


def _short_name(state_dir: Path) -> str:
    return "myard-" + hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8]


def _bridge_of_our_own(state_dir: Path) -> str:
    if not shutil.which("ip"):
        raise LauncherError(
            "Another Docker daemon uses docker0, and making a second bridge needs `ip`: install iproute2."
        )
    name = _short_name(state_dir)
    if not Path(f"/sys/class/net/{name}").exists():
        taken = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
        taken += subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
        free = next(number for number in range(200, 255) if f"172.30.{number}." not in taken)
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True, capture_output=True)
        subprocess.run(["ip", "addr", "add", f"172.30.{free}.1/24", "dev", name], check=True, capture_output=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True, capture_output=True)
    return name


def _remove_bridge(state_dir: Path) -> None:
    name = _short_name(state_dir)
    if Path(f"/sys/class/net/{name}").exists():
        subprocess.run(["ip", "link", "delete", name], capture_output=True)


def _remove_exec_root(root: Path) -> None:
    # What a killed daemon had mounted there stays mounted.
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in mounts:
        if mount.startswith(f"{root}/"):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


def _log_tail(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join((folder / "dockerd.log").read_text(errors="replace").splitlines()[-8:])
    return ""
