"""Does for Debian's PostgreSQL what the registry image's entry point does: initdb, a database, then the server."""

import os
import subprocess
import sys
from pathlib import Path

data = Path(os.environ["PGDATA"])
if not (data / "PG_VERSION").exists():
    subprocess.run(
        ["initdb", "-D", data, "-U", os.environ["POSTGRES_USER"], "--no-locale", "-E", "UTF8",
         f"--pwfile={os.environ['POSTGRES_PASSWORD_FILE']}", *os.environ["POSTGRES_INITDB_ARGS"].split()],
        check=True,
    )  # fmt: skip
    statement = f"CREATE DATABASE {os.environ['POSTGRES_DB']};"
    subprocess.run(["postgres", "--single", "-D", data, "postgres"], input=statement.encode(), check=True)
os.execvp(sys.argv[1], [*sys.argv[1:], "-D", str(data)])
