"""The lock of a state folder and the port: clear refusals before anything starts."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.waiting import eventually, lives
from workers.launcher import instance
from workers.launcher.progress import LauncherError

HOLD = (
    "import sys, time, pathlib; from workers.launcher import instance;"
    "lock = instance.take_lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(1000)"
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_a_taken_port_names_who_holds_it_and_the_setting(taken_port: int) -> None:
    with pytest.raises(LauncherError) as refusal:
        instance.check_port("127.0.0.1", taken_port)
    words = str(refusal.value)
    assert f"Port {taken_port} on 127.0.0.1 is taken by" in words
    assert f"(process {os.getpid()})" in words
    assert f"MODELYARD_PORT={taken_port + 1}" in words


def test_a_free_port_is_no_complaint(taken_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
    instance.check_port("127.0.0.1", free)


def test_an_address_that_is_not_ours_names_the_setting() -> None:
    with pytest.raises(LauncherError, match="MODELYARD_BIND"):
        instance.check_port("203.0.113.7", 8000)


def test_the_lock_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert instance.holder(tmp_path) == holder.pid
    with pytest.raises(LauncherError, match=f"process {holder.pid}"):
        instance.take_lock(tmp_path)
    holder.kill()
    holder.communicate()
    assert instance.holder(tmp_path) is None
    instance.take_lock(tmp_path).close()


def test_stopping_waits_until_the_supervisor_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert instance.stop_supervisor(tmp_path)
    eventually(lambda: not lives(holder.pid), "it ended")
    holder.communicate()
    assert not instance.stop_supervisor(tmp_path)


def test_the_run_folder_is_closed_to_others(tmp_path: Path) -> None:
    instance.take_lock(tmp_path / "run").close()
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("yard.example", False),
    ],
)
def test_only_loopback_addresses_are_private(bind: str, expected: bool) -> None:
    assert instance.is_loopback(bind) is expected
