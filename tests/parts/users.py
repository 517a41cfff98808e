"""Another user of this machine, for files that not everybody may read."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOMEBODY = 12_345


@contextlib.contextmanager
def somebody(user: int = SOMEBODY) -> Iterator[None]:
    """Without root's rights and groups, whoever runs the tests."""
    if os.getuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(user, user, 0)
    os.setresuid(user, user, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@contextlib.contextmanager
def walkable_folder() -> Iterator[Path]:
    """A folder that anybody may walk to, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="modelyard-walkable-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
