"""Connecting to a unix socket: a full queue is waited for, a link is not followed, a long path is no trouble."""

import asyncio
import socket
from pathlib import Path

import pytest

from webapp.foundation.dialing import dial


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder too: names in it are short enough to listen on."""
    made = tmp_path_factory.mktemp("s")
    monkeypatch.chdir(made)
    return made


def listening(name: str, queue: int = 8) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen(queue)
    return server


def test_more_connections_at_once_than_its_queue_takes_all_arrive(folder: Path) -> None:
    """llama.cpp's queue holds five; a hundred people may ask at the same moment."""

    async def story(server: socket.socket) -> None:
        calls = [asyncio.create_task(dial(str(folder / "e.sock"))) for _call in range(100)]
        await asyncio.sleep(0)
        assert not all(call.done() for call in calls), "the queue was never full"
        server.setblocking(False)
        for _call in calls:
            accepted, _peer = await asyncio.get_running_loop().sock_accept(server)
            accepted.close()
        for handle in await asyncio.gather(*calls):
            assert handle.getpeername(), "it is connected, not only said to be"
            handle.close()

    with listening("e.sock", queue=5) as server:
        asyncio.run(story(server))


def test_an_engine_cannot_lead_us_to_another_socket(folder: Path) -> None:
    with listening("docker.sock"):
        Path("e.sock").symlink_to("docker.sock")
        with pytest.raises(OSError):
            asyncio.run(dial(str(folder / "e.sock")))


def test_a_path_beyond_the_kernels_limit_is_connected_to(folder: Path) -> None:
    with listening("e.sock"):
        deep = folder / ("d" * 120)
        deep.mkdir()
        Path("e.sock").rename(deep / "e.sock")
        asyncio.run(dial(str(deep / "e.sock"))).close()


@pytest.mark.parametrize("kind", ["absent", "left behind", "no socket"])
def test_where_nobody_listens_it_is_refused_at_once(folder: Path, kind: str) -> None:
    if kind == "left behind":
        listening("e.sock").close()
    elif kind == "no socket":
        Path("e.sock").touch()
    with pytest.raises(OSError):
        asyncio.run(dial(str(folder / "e.sock")))
