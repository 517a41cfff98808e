"""Images on a host: what is there already, the official one when it can be pulled, else one built from packages.

A local build is named by the recipe that made it (label modelyard.recipe), so a changed recipe builds again and a
saved copy in the cache folder reaches a new engine in seconds.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from webapp.engines.llamacpp import images as llamacpp
from webapp.foundation.paths import REPOSITORY, cache_dir
from workers.launcher import debian_base, pulling
from workers.launcher.cache import content_key, wheel
from workers.launcher.progress import LauncherError, Progress, silent

BASE = "modelyard/base:1"
TOOLS = "modelyard/tools:1"
PULLED_PYTHON = "docker.io/library/python:3.12-slim"
RECIPE_LABEL = "modelyard.recipe"
LLAMACPP_LOCK = REPOSITORY / "requirements-llamacpp.lock"
LLAMACPP_DIR = REPOSITORY / "compose/engines/llamacpp"
TOOLS_DIR = REPOSITORY / "compose/tools"


@dataclass(frozen=True, slots=True)
class Context:
    """What one image is built from: files by their name in the context, and what else decides its content."""

    tag: str
    dockerfile: Path
    files: dict[str, Path]
    wheel_lock: Path | None = None
    # The image it stands on, when that is not the packages' base.
    parent: Context | None = None
    # Folders by their name in the context, made when it is built; `decided_by` are the files that say what is in them.
    folders: Callable[[str, Progress], dict[str, Path]] | None = None
    decided_by: tuple[Path, ...] = ()

    def recipe(self, base_recipe: str) -> str:
        """The name of this content."""
        locks = [self.wheel_lock] if self.wheel_lock else []
        below = self.parent.recipe(base_recipe) if self.parent else base_recipe
        extra = f"{below} {list(self.files)}"
        return content_key(self.dockerfile, *self.files.values(), *locks, *self.decided_by, extra=extra)


LLAMACPP = Context(
    llamacpp.LOCAL,
    LLAMACPP_DIR / "Dockerfile",
    {"server.py": LLAMACPP_DIR / "server.py", "flags.py": LLAMACPP_DIR / "flags.py"},
    LLAMACPP_LOCK,
)
# The programs of jobs, and the pure files of the house that they share with the web process.
TOOLS_FILES = (
    *(
        f"compose/tools/{name}.py"
        for name in ("failures", "meter", "modes", "content", "local", "web", "fetch", "remove", "staging")
    ),
    *(f"webapp/catalog/{name}.py" for name in ("gguf", "safetensors", "configs", "outbound", "reading")),
    *(f"webapp/foundation/{name}.py" for name in ("addresses", "deadline", "iri", "text")),
    # What belongs to an embedding model, and text as it is stored.
    *(f"webapp/catalog/{name}.py" for name in ("companions", "filenames", "programs", "weight_sets")),
    *(f"webapp/planner/{name}.py" for name in ("facts", "geometry", "ggml", "weights")),
)
TOOLS_IMAGE = Context(TOOLS, TOOLS_DIR / "Dockerfile", {name: REPOSITORY / name for name in TOOLS_FILES})


def ensure_llamacpp_image(client: docker.DockerClient, vendor: str = "cpu", on_progress: Progress = silent) -> str:
    """The reference of a llama.cpp server image that is on this engine when the call returns.

    In order: our local build when its recipe is current, the official image when it is there or can be pulled
    within MODELYARD_PULL_LIMIT_S (300 s; no network is noticed in about 5 s), else a local build (CPU only).
    Raises LauncherError saying what could not be had.
    """
    official = llamacpp.OFFICIAL[vendor]
    if vendor == "cpu" and _is_current(client, LLAMACPP):
        return llamacpp.LOCAL
    if find(client, official):
        return official
    refused = "not tried"
    if os.environ.get("MODELYARD_PULL", "yes") not in ("no", "0", "off"):
        refused = pulling.pull(client, official, on_progress) or ""
        if not refused:
            return official
        on_progress(f"{official}: {refused}")
    if vendor != "cpu":
        raise LauncherError(
            f"The image {official} could not be pulled ({refused}), and only a CPU build can be made here"
        )
    return ensure_local(client, LLAMACPP, on_progress)


def ensure_tools_image(client: docker.DockerClient, on_progress: Progress = silent) -> str:
    """The reference of the jobs' image, built on the packages' base, or on a pulled Python where there is no apt."""
    return ensure_local(client, TOOLS_IMAGE, on_progress)


def ensure_local(client: docker.DockerClient, context: Context, on_progress: Progress = silent) -> str:
    """Build `context` unless it is there with its current recipe; loaded from the cache when it was saved there."""
    if _is_current(client, context):
        return context.tag
    if not debian_base.is_possible():
        return _build_on_pulled_python(client, context, on_progress)
    recipe = context.recipe(debian_base.recipe_key())
    cache_dir().mkdir(parents=True, exist_ok=True)
    saved = saved_copy(context)
    if _load(client, saved, context.tag, on_progress):
        return context.tag
    try:
        python = ensure_base_image(client, on_progress)
        base = ensure_local(client, context.parent, on_progress) if context.parent else BASE
        _build(client, context, base, python, {RECIPE_LABEL: recipe}, on_progress)
    except LauncherError as error:
        if find(client, context.tag) is None:
            raise
        # An upgrade without a network goes on with what worked before.
        on_progress(f"{context.tag} stays as it was: {error}")
        return context.tag
    _save(client, saved, context.tag, on_progress)
    return context.tag


def saved_copy(context: Context) -> Path:
    """Where the cache keeps the image that this recipe makes, once it has been built."""
    name = context.tag.replace("/", "-").replace(":", "-")
    return cache_dir() / f"image-{name}-{context.recipe(debian_base.recipe_key())}.tar"


def ensure_base_image(client: docker.DockerClient, on_progress: Progress = silent) -> str:
    """Import the base unless it is there; returns its Python, like "3.11"."""
    recipe = debian_base.recipe_key()
    there = find(client, BASE)
    if there is not None and there.labels.get(RECIPE_LABEL) == recipe:
        return str(there.labels["modelyard.python"])
    folder = cache_dir() / f"base-{recipe}"
    about = folder / "base.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not about.exists():
        base = debian_base.build(folder, on_progress)
        about.write_text(json.dumps({"python": base.python, "packages": base.packages}))
    facts = json.loads(about.read_text())
    on_progress("importing the base")
    changes = [
        f"LABEL {RECIPE_LABEL}={recipe} modelyard.python={facts['python']}",
        f"LABEL modelyard.packages={json.dumps(' '.join(facts['packages']))}",
        "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8",
    ]
    repository, tag = BASE.split(":")
    client.api.import_image(src=str(folder / "base.tar"), repository=repository, tag=tag, changes=changes)
    return str(facts["python"])


def find(client: docker.DockerClient, reference: str) -> Any | None:
    """The image, or None when the engine does not have it."""
    try:
        return client.images.get(reference)
    except ImageNotFound:
        return None


def _is_current(client: docker.DockerClient, context: Context) -> bool:
    image = find(client, context.tag)
    if image is None:
        return False
    made_by = image.labels.get(RECIPE_LABEL)
    # Without the label somebody made or tagged it themselves: theirs to decide.
    if made_by is None or not debian_base.is_possible():
        return True
    return bool(made_by == context.recipe(debian_base.recipe_key()))


def _build_on_pulled_python(client: docker.DockerClient, context: Context, on_progress: Progress) -> str:
    if context.wheel_lock:
        raise LauncherError(
            f"{context.tag} is built from Debian packages, and this machine has no apt. Pull "
            f"{llamacpp.OFFICIAL['cpu']}, or build it on a Debian or Ubuntu machine and bring it:\n\n"
            f"    docker save {context.tag} | docker load"
        )
    if not find(client, PULLED_PYTHON):
        refused = pulling.pull(client, PULLED_PYTHON, on_progress)
        if refused:
            raise LauncherError(
                f"{context.tag} needs a base: this machine has no apt to make one from packages, and {PULLED_PYTHON} "
                f"could not be pulled ({refused}). Build it on a Debian or Ubuntu machine and bring it with "
                f"`docker save {context.tag} | docker load`."
            )
    labels = {RECIPE_LABEL: context.recipe(PULLED_PYTHON)}
    _build(client, context, PULLED_PYTHON, "3.12", labels, on_progress)
    return context.tag


def _build(
    client: docker.DockerClient, context: Context, base: str, python: str, labels: dict[str, str], on_progress: Progress
) -> None:
    # On the disk: with PyTorch in it a context has a gigabyte.
    with tempfile.TemporaryFile(dir=cache_dir()) as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            _fill(tar, context, python, on_progress)
        archive.seek(0)
        on_progress(f"building {context.tag}")
        try:
            client.images.build(
                fileobj=archive,
                custom_context=True,
                tag=context.tag,
                buildargs={"BASE": base},
                # Everything came in with the context, hash-checked: a build step has no business on a network.
                network_mode="none",
                labels=labels,
                rm=True,
                forcerm=True,
            )
        except (BuildError, APIError) as error:
            raise LauncherError(f"Building {context.tag} failed: {error}") from error


def _fill(tar: tarfile.TarFile, context: Context, python: str, on_progress: Progress) -> None:
    for name, path in {"Dockerfile": context.dockerfile, **context.files}.items():
        _put(tar, name, path.read_bytes())
    if context.wheel_lock:
        package = wheel(context.wheel_lock, cache_dir(), python=python, on_progress=on_progress)
        for name, content in _unpacked(package):
            _put(tar, f"wheel/{name}", content)
    for name, folder in (context.folders(python, on_progress) if context.folders else {}).items():
        tar.add(folder, name, filter=_owned_by_root)


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """For everybody to read and root's to change, whatever umask the folder was made with."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    return info


def _unpacked(package: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(package) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, archive.read(member)


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _load(client: docker.DockerClient, saved: Path, tag: str, on_progress: Progress) -> bool:
    if not saved.exists():
        return False
    on_progress(f"loading {tag} from the cache")
    try:
        with saved.open("rb") as file:
            client.images.load(file)
    except DockerException:
        # A cut-off file must not stop the way that makes a new one.
        saved.unlink(missing_ok=True)
        return False
    return find(client, tag) is not None


def _save(client: docker.DockerClient, saved: Path, tag: str, on_progress: Progress) -> None:
    on_progress(f"keeping {tag} in the cache")
    partial = saved.with_name(f"{saved.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines(client.images.get(tag).save(named=tag))
        partial.replace(saved)
    except OSError as error:
        # The cache only saves time: a full disk here is not a failed build.
        partial.unlink(missing_ok=True)
        on_progress(f"not kept: {error}")
    _forget_old(saved)


def _forget_old(saved: Path) -> None:
    """Remove saved images of earlier recipes of the same tag that nobody used for 30 days."""
    stem = saved.name.rsplit("-", 1)[0]
    for old in saved.parent.glob(f"{stem}-*.tar"):
        if old != saved and time.time() - old.stat().st_mtime > 30 * 86400:
            old.unlink(missing_ok=True)
