"""A person who imports, is refused, and does what the refusal says."""

import subprocess
from pathlib import Path
from typing import Any

from webapp.foundation.errors import ServiceError


def follow(refusal: ServiceError) -> None:
    """Copy what stands behind the advice's colon into a shell."""
    said, _, command = refusal.advice.partition(": ")
    assert command.startswith("chmod "), said
    subprocess.run(["sh", "-c", command], check=True)


def import_as_told(user: Any, team: Any, host: Any, path: Path) -> Any:
    """The import's job, with the files opened to everybody if that was asked for."""
    from webapp.jobs import fetching

    try:
        return fetching.import_file(user, team, host, str(path))
    except ServiceError as refusal:
        follow(refusal)
        return fetching.import_file(user, team, host, str(path))
