"""A PostgreSQL server of the tests' own, in a temporary folder, on a unix socket only."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


class PostgresMissing(Exception):
    """No PostgreSQL server programs on this machine."""


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server and yield its MODELYARD_DATABASE_URL; it is gone afterwards."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="modelyard-pg-"))
    as_postgres: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_postgres = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*as_postgres, str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "modelyard"], **quiet)
    # Nothing here must survive a crash, so the server need not wait for the disk.
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c full_page_writes=off"
    control = [*as_postgres, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "start"], **quiet)
    try:
        yield f"postgresql://modelyard@/postgres?host={quote(str(folder))}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **{**quiet, "check": False})
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of the newest server installed; Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise PostgresMissing("No PostgreSQL server here: apt-get install postgresql")
    return Path(initdb).parent
