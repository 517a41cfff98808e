"""Which engines `make down` has stopped: it works without a database, so it leaves a note for what explains deaths."""

import json
import logging
import os
from collections.abc import Collection
from pathlib import Path

from webapp.foundation import paths

logger = logging.getLogger(__name__)


def path() -> Path:
    """Where the note lies."""
    return paths.state_dir() / "shut-down.json"


def note(stopped: Collection[str], still_there: Collection[str]) -> None:
    """Add these container ids. Those of earlier times are kept while the engine has the container."""
    kept = {*stopped, *(containers() & set(still_there))}
    draft = path().with_name(f".{path().name}-{os.getpid()}")
    draft.write_text(json.dumps(sorted(kept)))
    draft.replace(path())


def containers() -> frozenset[str]:
    """The container ids of the note; none when there is no note that can be read."""
    try:
        return frozenset(map(str, json.loads(path().read_text())))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s cannot be read: %s", path(), error)
        return frozenset()
