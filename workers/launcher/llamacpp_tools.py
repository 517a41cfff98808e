"""llama.cpp's own programs for making and judging GGUF files, compiled from a hash-checked source package."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from webapp.foundation.paths import REPOSITORY
from workers.launcher.cache import content_key
from workers.launcher.environment import patiently
from workers.launcher.progress import LauncherError, Progress, silent

LOCK = REPOSITORY / "compose/quantizers/gguf/llama-cpp-source.lock"
PROGRAMS = ("llama-quantize", "llama-imatrix", "llama-perplexity", "llama-batched-bench")
# The converter and what it imports, by their names in the source.
SCRIPTS = ("convert_hf_to_gguf.py", "conversion", "gguf-py/gguf", "models/templates")
# Static, so that they run on any base; without OpenMP, whose spinning threads starve their neighbours.
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_MTMD=OFF",
    "-DCMAKE_EXE_LINKER_FLAGS=-static",
)
NEEDED = {"cmake": "cmake", "ninja": "ninja-build", "g++": "g++"}


def key() -> str:
    """Named for all that decides what is in the folder but the compiler: a newer one is no reason to wait again."""
    return content_key(LOCK, extra=repr((PROGRAMS, SCRIPTS, FLAGS, platform.machine())))


def ensure(folder: Path, on_progress: Progress = silent) -> Path:
    """The folder with bin/ (the programs) and the converter; compiled once for this recipe (about 10 CPU minutes).

    Raises LauncherError when a compiler is missing or the build fails.
    """
    target = folder / f"llamacpp-tools-{key()}"
    if target.exists():
        return target
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        names = " ".join(missing)
        raise LauncherError(
            f"llama.cpp's tools are compiled here, and that needs {names}:\n\n    apt-get install {names}"
        )
    work = folder / f".partial-{target.name}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        source = _source(work, on_progress)
        _compile(source, work / "build", on_progress)
        _collect(source, work / "build" / "bin", work / "out")
        (work / "out").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _source(work: Path, on_progress: Progress) -> Path:
    on_progress("downloading llama.cpp's source")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--no-binary=llama-cpp-python", "--dest", str(work), "-r", str(LOCK)]
    _check(patiently(command), "pip could not download llama.cpp's source")
    archive = next(work.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")
    return next(work.glob("*/vendor/llama.cpp"))


def _compile(source: Path, build: Path, on_progress: Progress) -> None:
    on_progress("compiling llama.cpp's tools, about ten minutes of one core")
    _run(["cmake", "-S", str(source), "-B", str(build), "-G", "Ninja", *FLAGS], "cmake refused llama.cpp's source")
    cores = str(len(os.sched_getaffinity(0)))
    _run(["cmake", "--build", str(build), "-j", cores, "--target", *PROGRAMS], "llama.cpp's tools did not compile")


def _collect(source: Path, built: Path, out: Path) -> None:
    (out / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy2(built / name, out / "bin" / name)
        subprocess.run(["strip", str(out / "bin" / name)], check=True)
    for name in SCRIPTS:
        path = source / name
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target)
    shutil.copy2(source / "LICENSE", out / "LICENSE")


def _run(command: list[str], fault: str) -> None:
    _check(subprocess.run(command, capture_output=True, text=True), fault)


def _check(done: subprocess.CompletedProcess[str], fault: str) -> None:
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise LauncherError(f"{fault}:\n{last}")
