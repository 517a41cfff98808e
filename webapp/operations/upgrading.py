"""Bring the schema up to date: tried on a copy when asked, a backup first when it is done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor

from webapp.foundation import paths
from webapp.foundation.secret_store import setting
from webapp.operations import backups, dump, fresh, heartbeats, running, schema, tables

# A backup, and room for the largest table to be written anew.
DISK_FACTOR = 2.5


class UpgradeRefused(Exception):
    """The text says why and what to do."""


@dataclass(slots=True)
class Step:
    """One migration: how long it took, and the tables whose number of rows changed, as [before, after]."""

    app: str
    name: str
    seconds: float = 0.0
    rows: dict[str, list[int | None]] = field(default_factory=dict)


@dataclass(slots=True)
class DryRun:
    """What an upgrade would do. `is_new`: make all tables in an empty database, without steps. Sizes in bytes."""

    steps: list[Step]
    size_before: int
    size_after: int
    needed_bytes: int
    free_bytes: int
    is_new: bool = False


Say = Callable[[str], None]


def upgrade(say: Say, while_starting: bool = False, with_backup: bool = True) -> list[Step]:
    """Apply what is missing, after a backup; make all tables at once in an empty database. `while_starting`: the caller
    holds the supervisor's lock itself.

    Raises UpgradeRefused for a newer schema, one that is not consistent, while processes run, or without disk space.
    """
    with _alone():
        state = _checked_state()
        if state.is_current:
            return []
        if state.is_empty:
            _begin(say)
            return []
        _refuse_beside_processes(while_starting)
        say(f"The database needs {len(state.missing)} migrations.")
        _refuse_without_space()
        if with_backup:
            path = _back_up()
            say(f"Backup before the upgrade: {path}")
        try:
            steps = migrate(count_rows=False)
        except DatabaseError as error:
            raise UpgradeRefused(
                f"The upgrade broke off: {error}\nThe migrations before it are done; no process starts on this schema. "
                "Run it again after mending the cause, or go back: the version before, and make restore FROM=the backup"
            ) from error
        call_command("migrate", verbosity=0, interactive=False)
        return steps


def _begin(say: Say) -> None:
    began = time.monotonic()
    try:
        fresh.make()
    except DatabaseError as error:
        raise UpgradeRefused(f"The tables of the new database could not be made: {error}") from error
    call_command("migrate", verbosity=0, interactive=False)
    say(f"The database is new: its tables were made in {time.monotonic() - began:.1f} s.")


def dry_run() -> DryRun:
    """Apply what is missing to a copy and measure it. Nothing here is changed. Raises UpgradeRefused."""
    state = _checked_state()
    size = tables.size_bytes(connection)
    needed = int(size * DISK_FACTOR)
    free = backups.free_bytes(paths.state_dir())
    if state.is_current or state.is_empty:
        return DryRun([], size, size, 0, free, is_new=state.is_empty)
    if free < size * 1.5:
        raise UpgradeRefused(f"A copy needs {size * 1.5 / 1e6:.0f} MB and {free / 1e6:.0f} MB are free.")
    with tempfile.TemporaryDirectory(prefix=".dry_run-", dir=paths.state_dir()) as name, _copy(Path(name)) as more:
        url, words = more
        environment = {**os.environ, "MODELYARD_DATABASE_URL": url}
        command = [sys.executable, "manage.py", "upgrade", "--on-a-copy", *words]
        done = subprocess.run(command, cwd=paths.REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise UpgradeRefused(f"The upgrade would fail; this is how it failed on a copy:\n{said}")
    found = json.loads(done.stdout.splitlines()[-1])
    return DryRun([Step(**step) for step in found["steps"]], size, found["size_bytes"], needed, free)


def on_a_copy(filled_from: Path | None) -> str:
    """The inner half of a dry run, in a process whose default database is the copy; JSON of the steps."""
    if filled_from is not None:
        manifest = json.loads((filled_from / "facts.json").read_text())
        with transaction.atomic():
            dump.fill_postgresql(connection, filled_from, manifest)
    steps = migrate(count_rows=True)
    return json.dumps({"steps": [asdict(step) for step in steps], "size_bytes": tables.size_bytes(connection)})


def migrate(count_rows: bool) -> list[Step]:
    """Apply every missing migration to the default database, one by one."""
    steps: list[Step] = []
    last: dict[str, int] = tables.counts(connection) if count_rows else {}
    began = 0.0

    def watch(action: Any, migration: Any = None, fake: bool = False) -> None:
        nonlocal began, last
        if action == "apply_start":
            began = time.monotonic()
        elif action == "apply_success":
            step = Step(migration.app_label, migration.name, round(time.monotonic() - began, 3))
            if count_rows:
                now = tables.counts(connection)
                step.rows = {
                    t: [last.get(t), now.get(t)]
                    for t in sorted({*last, *now} - {"django_migrations"})
                    if last.get(t) != now.get(t)
                }
                last = now
            steps.append(step)

    executor = MigrationExecutor(connection, cast(Any, watch))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # Thirty seconds are for requests; a large table takes as long as it takes.
            cursor.execute("SET statement_timeout = 0")
    executor.migrate(executor.loader.graph.leaf_nodes())
    return steps


def _checked_state() -> schema.SchemaState:
    state = schema.inspect()
    if state.unknown:
        raise UpgradeRefused(schema.refusal(state) or "")
    try:
        MigrationExecutor(connection).loader.check_consistent_history(connection)
    except InconsistentMigrationHistory as error:
        raise UpgradeRefused(
            f"The database is half migrated in a way that cannot go on: {error} "
            "Restore the backup from before: make restore FROM=file"
        ) from error
    return state


def _refuse_beside_processes(while_starting: bool) -> None:
    why = None if while_starting else running.refusal()
    if why is None and connection.vendor != "sqlite":
        with contextlib.suppress(DatabaseError):
            # An older schema has no heartbeats to ask.
            others = heartbeats.lively()
            why = f"{', '.join(others)} work on this database: stop every process first." if others else None
    if why:
        raise UpgradeRefused(why)


def _refuse_without_space() -> None:
    needed, free = int(tables.size_bytes(connection) * DISK_FACTOR), backups.free_bytes()
    if free < needed:
        raise UpgradeRefused(f"The backup and the upgrade need {needed / 1e6:.0f} MB; {free / 1e6:.0f} MB are free.")


def _back_up() -> Path:
    path = backups.folder() / time.strftime("modelyard-%Y%m%d-%H%M%S-before-upgrade.tar.gz", time.gmtime())
    backups.write_archive(path)
    return path


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One upgrade at a time on this state folder; the second finds nothing left to do."""
    paths.state_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (paths.state_dir() / ".upgrade.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _copy(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A copy of the database: its URL, and what the inner half must be told."""
    if connection.vendor == "sqlite":
        target = folder / "db.sqlite3"
        dump.copy_sqlite(dump.sqlite_path(), target)
        yield f"sqlite:///{target}", []
        return
    facts = dump.take(folder)
    (folder / "facts.json").write_text(json.dumps(facts))
    name = f"modelyard_dry_run_{secrets.token_hex(4)}"
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {tables.quoted(connection, name)}")
    except DatabaseError as error:
        raise UpgradeRefused(
            f"A dry run needs a database of its own, and making one was refused: {error}"
            f"Allow it, as the server's admin: ALTER ROLE {connection.settings_dict['USER']} CREATEDB"
        ) from error
    try:
        parts = urlsplit(setting("MODELYARD_DATABASE_URL") or "")
        yield urlunsplit(parts._replace(path=f"/{name}")), ["--filled-from", str(folder)]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {tables.quoted(connection, name)}")
