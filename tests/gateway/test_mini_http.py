"""The small server of these tests leaves nothing open: a warning about it would fail whichever test runs next."""

import contextlib
import gc
import socket
import threading
from pathlib import Path

from tests.gateway.mini_http import Asked, Line, MiniServer
from tests.gateway.stack import eventually


async def _yes(_asked: Asked, line: Line) -> None:
    await line.answer(200, b"yes")


def test_a_server_that_is_stopped_while_clients_arrive_closes_what_it_accepted(tmp_path: Path) -> None:
    for number in range(20):
        server = MiniServer(_yes, str(tmp_path / f"{number}.sock")).start()
        stop = threading.Event()

        def knock(path: str | None = server.path, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
                    client.connect(str(path))
                    client.sendall(b"GET / HTTP/1.1\r\n")

        threads = [threading.Thread(target=knock) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: server.connections > 50)  # noqa: B023
            server.stop()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    gc.collect()
