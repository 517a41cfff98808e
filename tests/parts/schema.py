"""The empty database after all migrations, kept between runs and suites: applying them takes seconds each time.

From nothing they are applied by tests/accounts/test_audit.py, by the suites on PostgreSQL and by the journeys.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from webapp.foundation import paths
from workers.launcher.cache import content_key

ROOT = paths.REPOSITORY


def lay(target: Path) -> bool:
    """Put the kept SQLite file at `target`; False when there is none of these migrations yet."""
    kept = _place()
    if not kept.exists():
        return False
    shutil.copyfile(kept, target)
    return True


def keep(database: Path) -> None:
    """Keep a copy of a database that was migrated just now and that no test has written to."""
    kept = _place()
    if kept.exists():
        return
    draft = kept.with_name(f"{kept.name}.{os.getpid()}")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(draft)) as copy:
        source.backup(copy)
    draft.replace(kept)


def _place() -> Path:
    """Named for all that goes in: our migrations and what they import, and the versions of everybody else's."""
    ours = [*ROOT.glob("webapp/*/migrations/*.py"), *ROOT.glob("webapp/*/states.py")]
    ours += [ROOT / "webapp/accounts/audit_triggers.py", ROOT / "webapp/settings.py", ROOT / "requirements.lock"]
    folder = paths.cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"schema-{content_key(*sorted(ours))}.sqlite3"
