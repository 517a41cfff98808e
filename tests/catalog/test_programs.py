"""Nothing that could run becomes part of a model: every hostile file is refused, or left behind, at every door."""

import io
import json
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compose.tools import fetch, staging
from compose.tools.content import check
from compose.tools.failures import FetchError
from tests.catalog.gguf_file import gguf_bytes
from tests.catalog.safetensors_file import CONFIG, safetensors_bytes
from webapp import engines
from webapp.catalog import hubs, services
from webapp.catalog.inspecting import inspect_path, inspect_repo, inspect_url
from webapp.catalog.models import Artifact
from webapp.foundation.errors import Invalid, ServiceError
from workers.controllers.job import kinds

pytestmark = pytest.mark.django_db
Files = dict[str, bytes]

GOOD: Files = {
    "config.json": json.dumps(CONFIG).encode(),
    "model.safetensors": safetensors_bytes(),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ messages }}"}',
    "tokenizer.model": b"\x0a\x0e\x0a\x05<unk>",
    "vocab.txt": b"class\nfoo\nlist\n",
    "chat_template.jinja": b"{% for message in messages %}{{ message.content }}{% endfor %}",
    "LICENSE": b"Apache License",
}
GOOD_GGUF: Files = {"tiny.gguf": gguf_bytes()}


class _Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Calls()))
    return buffer.getvalue()


def _tar(kind: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return buffer.getvalue()


CONTENTS: Files = {
    **{f"pickle of protocol {protocol}": pickle.dumps(_Calls(), protocol) for protocol in range(6)},
    **{f"weights in protocol {protocol}": pickle.dumps({"w": [0.5] * 999}, protocol) for protocol in range(6)},
    "a name called by an old pickle": b"cos\nsystem\n(S'true'\ntR.",
    "zip with a pickle": _zipped(),
    "tar of old PyTorch": _tar("w"),
    "gzip": _tar("w:gz"),
    "ELF": b"\x7fELF" + bytes(60),
    "script": b"#!/bin/sh\n",
    "array of objects": b"\x93NUMPY\x01\x00" + bytes(60),
}
ANY_NAME = ("model.safetensors", "tokenizer.model", "vocab.txt", "chat_template.jinja", "LICENSE", "tokenizer.json")


def _with_header_of(length: int) -> bytes:
    """A sound safetensors file; writers pad its header to a multiple of eight bytes, and the length comes first."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode().ljust(length)
    return length.to_bytes(8, "little") + header + b"\0"


BY_NAME = (
    "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "MODEL.BIN", "model.h5", "lib.so",
    "modeling_tiny.py", "tokenization_tiny.py", "x.npz", "x.onnx", "1_Dense/pytorch_model.bin", "1_Dense/evil.py",
)  # fmt: skip
CODE = {"AutoModel": "modeling_tiny.TinyModel"}
CONFIGS: Files = {
    "config.json": json.dumps({**CONFIG, "auto_map": CODE}).encode(),
    "config.json ": json.dumps({**CONFIG, "trust_remote_code": True}).encode(),
    "config.json  ": json.dumps({**CONFIG, "text_config": {**CONFIG, "auto_map": CODE}}).encode(),
    "config.json   ": json.dumps({**CONFIG, "auto_map": {"AutoModel": "elsewhere/repo--modeling.Tiny"}}).encode(),
    "tokenizer_config.json": json.dumps({"auto_map": {"AutoTokenizer": ["tokenization_tiny.Tiny", None]}}).encode(),
    "preprocessor_config.json": json.dumps({"auto_map": {"AutoProcessor": "p.P"}}).encode(),
    "generation_config.json": json.dumps({"custom_generate": "elsewhere/repo"}).encode(),
}
HOSTILE = [
    *((name, content, about) for about, content in CONTENTS.items() for name in ANY_NAME),
    *((name, pickle.dumps(_Calls()), "by name and content") for name in BY_NAME),
    *((name, b"harmless by its content", "by its name") for name in BY_NAME),
    *((name.strip(), content, "names code") for name, content in CONFIGS.items()),
]


def with_(name: str, content: bytes) -> Files:
    modules = {"modules.json": json.dumps([{"path": "", "type": "T"}, {"path": "1_Dense", "type": "D"}]).encode()}
    more = {**modules, "1_Dense/config.json": b"{}"} if name.startswith("1_Dense/") else {}
    return {**GOOD, **more, name: content}


class Doors:
    """Every way that files come to where an engine or a quantiser reads them; each returns the names that came."""

    def __init__(self, folder: Path, imports: Path, hub: Any, small_hub: Any) -> None:
        self.folder, self.imports, self.hub, self.small_hub = folder, imports, hub, small_hub
        self.number = 0

    def each(self) -> dict[str, Callable[[Files], set[str]]]:
        return {
            "import of a folder": self.import_folder,
            "fetch from a hub": self.from_hub,
            "the program that brings files": self.brought,
            "what a quantiser reads": self.read_by_quantiser,
            "what a quantiser made": self.made,
            "launch": self.launched,
        }

    def _new(self, root: Path, files: Files) -> Path:
        place = Path(tempfile.mkdtemp(dir=root))
        place.chmod(0o755)
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return place

    def import_folder(self, files: Files) -> set[str]:
        place = self._new(self.imports, files)
        found = inspect_path(place)
        self._bring({"kind": "path", "path": str(place)}, [dict(file) for file in found.files], place.parent)
        return {file["name"] for file in found.files}

    def from_hub(self, files: Files) -> set[str]:
        self.number += 1
        name = f"org/tiny-{self.number}"
        self.small_hub.add(name, files)
        repo = hubs.repo(self.hub, name)
        key = "gguf" if "tiny.gguf" in files else "safetensors"
        found = inspect_repo(self.hub, repo, "tiny" if key == "gguf" else key)
        told = [{**file, "url": hubs.file_url(self.hub, name, repo.commit, file["path"])} for file in found.files]
        self._bring(kinds._web(hubs.policy(self.hub)), told, self.folder)
        return {file["name"] for file in found.files}

    def brought(self, files: Files) -> set[str]:
        place = self._new(self.folder, files)
        told = [{"name": name, "size": len(content), "sha256": None} for name, content in files.items()]
        self._bring({"kind": "path", "path": str(place)}, told, self.folder)
        return set(files)

    def _bring(self, source: dict[str, Any], files: list[dict[str, Any]], imports: Path) -> None:
        target = Path(tempfile.mkdtemp(dir=self.folder))
        job = {"source": source, "target_dir": str(target / "7"), "files": files}
        fetch.run(job, fetch.Setting(lambda _line: None, imports, target, {}, lambda _seconds: None))

    def read_by_quantiser(self, files: Files) -> set[str]:
        models = self._new(self.folder, {f"3/{name}": content for name, content in files.items()})
        listed = [{"name": name, "size_bytes": len(content)} for name, content in files.items()]
        order = {"work": ".work/job-7", "source": str(models / "3"), "files": listed, "needed_bytes": 1}
        staging.prepare(order, {}, models)
        return set(files)

    def made(self, files: Files) -> set[str]:
        models = self._new(self.folder, {f".work/job-7/out/{name}": content for name, content in files.items()})
        staging.publish({"work": ".work/job-7", "artifact": 12}, models)
        return set(files)

    def launched(self, files: Files) -> set[str]:
        """Names alone: what lies behind them was looked at when it was brought or made."""
        if services.why_no_launch(Artifact(files=[{"name": name} for name in files], source={})):
            raise ServiceError("launch")
        return {name for name in files if name not in ANY_NAME and name not in CONFIGS}


@pytest.fixture
def doors(tmp_path: Path, import_dir: Path, hub: Any, small_hub: Any) -> Doors:
    return Doors(tmp_path, import_dir, hub, small_hub)


def passing(doors: Doors, every: int) -> list[tuple[str, str, str]]:
    """(door, name, what it is) of the hostile files that came in; each door is shown one in `every`."""
    passed = []
    for number, (door, go) in enumerate(doors.each().items()):
        for name, content, about in HOSTILE[number % every :: every]:
            try:
                came = go(with_(name, content))
            except (ServiceError, FetchError):
                continue
            if name in came:
                passed.append((door, name, about))
    return passed


def test_hostile_files_are_refused_or_left_behind_at_every_door(doors: Doors) -> None:
    assert passing(doors, every=7) == []


@pytest.mark.slow
def test_every_hostile_file_is_refused_or_left_behind_at_every_door(doors: Doors) -> None:
    assert passing(doors, every=1) == []


def test_the_one_function_refuses_each_of_them(tmp_path: Path) -> None:
    for name, content, _about in HOSTILE:
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(FetchError):
            check(tmp_path / "file", name)


@pytest.mark.parametrize("files", [GOOD, GOOD_GGUF], ids=["safetensors", "gguf"])
def test_sound_models_go_through_every_door(doors: Doors, files: Files) -> None:
    for go in doors.each().values():
        go(files)


@pytest.mark.parametrize("about", CONTENTS)
def test_one_that_is_called_gguf_is_refused_by_itself_in_an_archive_and_behind_an_address(
    about: str, doors: Doors, import_dir: Path, small_hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")
    place = doors._new(import_dir, {"m.gguf": CONTENTS[about]})
    with zipfile.ZipFile(place / "m.whl", "w") as archive:
        archive.writestr("m.gguf", CONTENTS[about])
    small_hub.add("org/evil", {"m.gguf": CONTENTS[about]})
    looks: tuple[Callable[[], Any], ...] = (
        lambda: inspect_path(place / "m.gguf"),
        lambda: inspect_path(place / "m.whl", "m.gguf"),
        lambda: inspect_url(f"{small_hub.url}/org/evil/resolve/main/m.gguf"),
    )
    for look in looks:
        with pytest.raises(Invalid):
            look()
    for go in (doors.brought, doors.read_by_quantiser, doors.made):
        with pytest.raises(FetchError):
            go({"m.gguf": CONTENTS[about]})


@pytest.mark.parametrize("engine", engines.names())
def test_no_engine_can_be_told_to_trust_code(engine: str) -> None:
    found = engines.get(engine)
    assert not [name for name in found.Options.model_fields if "trust" in name or "code" in name]
    with pytest.raises(ValidationError):
        found.Options.model_validate({"trust_remote_code": True})


def test_a_header_whose_length_looks_like_a_pickle_makes_no_program_of_sound_weights(tmp_path: Path) -> None:
    """128 begins as a pickle of protocol 0 does, 640 as one of protocol 2, 28968 as an old tuple."""
    path = tmp_path / "shard.part"
    for length in (*range(64, 4096, 8), 28968, 65664):
        path.write_bytes(_with_header_of(length))
        check(path, "model-00001-of-00191.safetensors")
    with pytest.raises(FetchError, match="is a pickle"):
        check(path, "tokenizer.model")
