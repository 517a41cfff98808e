"""The database's content as files, and back. SQLite: a copy by its backup API. PostgreSQL: COPY of every table inside
one read-only snapshot, so that no client program of the right version is needed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from webapp.operations import tables

SQLITE_FILE = "database/db.sqlite3"
_CHUNK_BYTES = 256 * 1024

Facts = dict[str, Any]


class DumpError(Exception):
    """The database's content cannot be taken in; the text says why. The database is as it was."""


def take(folder: Path) -> Facts:
    """Write a consistent copy below `folder`, while others read and write; what a manifest says about it."""
    (folder / "database").mkdir(mode=0o700, parents=True, exist_ok=True)
    found = _take_sqlite(folder) if connection.vendor == "sqlite" else _take_postgresql(folder)
    return {"database": connection.vendor, **found}


def _take_sqlite(folder: Path) -> Facts:
    target = folder / SQLITE_FILE
    copy_sqlite(sqlite_path(), target)
    found: Facts = {}
    with _sqlite(target) as copy:
        # Freed pages would still hold what was in them.
        copy.execute("PRAGMA secure_delete=ON")
        existing = set(connection.introspection.table_names())
        for table in sorted(tables.LEFT_OUT & existing):
            copy.execute(f'DELETE FROM "{table}"')  # noqa: S608 - one of two constants
        copy.commit()
        copy.execute("VACUUM")
        for table in tables.names(connection):
            rows = copy.execute(f"SELECT COUNT(*) FROM {tables.quoted(connection, table)}").fetchone()[0]  # noqa: S608
            found[table] = {"rows": rows}
        applied = copy.execute("SELECT app, name FROM django_migrations ORDER BY id").fetchall()
    copy.close()
    return {"tables": found, "migrations": [list(row) for row in applied]}


def sqlite_path() -> str:
    """The file of the default database."""
    return str(connection.settings_dict["NAME"])


def copy_sqlite(source: str, target: Path) -> None:
    """A copy of the file as of one moment, made beside readers and writers."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    reader = sqlite3.connect(f"{Path(source).as_uri()}?mode=ro", uri=True, timeout=20)
    writer = _sqlite(target)
    try:
        reader.backup(writer)
        # A copy in WAL mode would be three files.
        writer.execute("PRAGMA journal_mode=DELETE")
    finally:
        reader.close()
        writer.close()


def _sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=20)


def _take_postgresql(folder: Path) -> Facts:
    found: Facts = {}
    connection.close()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SET LOCAL statement_timeout = 0")
        for table in tables.names(connection):
            columns = tables.columns(connection, table)
            rows = 0
            if table not in tables.LEFT_OUT:
                rows = _copy_out(cursor, table, columns, folder / "database" / f"{table}.copy")
            found[table] = {"rows": rows, "columns": columns}
        applied = sorted(MigrationRecorder(connection).applied_migrations())
    return {"tables": found, "migrations": [list(name) for name in applied]}


def _copy_out(cursor: Any, table: str, columns: list[str], target: Path) -> int:
    statement = f"COPY {tables.quoted(connection, table)} ({tables.quoted(connection, *columns)}) TO STDOUT"
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with connection.wrap_database_errors, os.fdopen(descriptor, "wb") as file, cursor.copy(statement) as copy:
        for block in copy:
            file.write(block)
    return int(cursor.rowcount)


def check_sqlite(folder: Path, manifest: Facts) -> Path:
    """The database file of an unpacked archive, after SQLite and the manifest's counts agreed. Raises DumpError."""
    path = folder / SQLITE_FILE
    copy = _sqlite(path)
    try:
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise DumpError(f"SQLite finds the backup's database damaged: {verdict}")
        for table, about in manifest["tables"].items():
            rows = copy.execute(f"SELECT COUNT(*) FROM {tables.quoted(connection, table)}").fetchone()[0]  # noqa: S608
            _agree(table, rows, about["rows"])
    except sqlite3.DatabaseError as error:
        raise DumpError(f"The backup's database cannot be read: {error}") from error
    finally:
        copy.close()
    return path


def load_postgresql(folder: Path, manifest: Facts, finish: Callable[[], None]) -> None:
    """Replace everything in the default database by the dump: its schema as of then, its rows, `finish`, or nothing.

    Raises DumpError when a count is not the manifest's.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f"DROP TABLE IF EXISTS {tables.quoted(connection, table)} CASCADE")
        fill_postgresql(connection, folder, manifest)
        finish()


def fill_postgresql(database: BaseDatabaseWrapper, folder: Path, manifest: Facts) -> None:
    """Make the dump's schema in an empty database and load its rows. Raises DumpError."""
    applied = [(str(app), str(name)) for app, name in manifest["migrations"]]
    executor = MigrationExecutor(database)
    executor.migrate(_leaves(executor, applied))
    with database.cursor() as cursor:
        # Django makes constraints immediate for the transaction that creates them; rows come in no order here.
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        present = tables.names(database)
        # Migrations put rows of their own into some tables.
        cursor.execute(f"TRUNCATE {tables.quoted(database, *present)} CASCADE")
        for table, about in manifest["tables"].items():
            path = folder / "database" / f"{table}.copy"
            if path.exists():
                _copy_in(cursor, database, table, about["columns"], path)
            _agree(table, tables.count(database, table), about["rows"])
    tables.reset_sequences(database)


def _leaves(executor: MigrationExecutor, applied: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The last applied migrations of every app: reaching them brings all before them."""
    known = {name for name in applied if name in executor.loader.graph.node_map}
    children = executor.loader.graph.node_map
    return sorted(n for n in known if not any(c.key in known and c.key[0] == n[0] for c in children[n].children))


def _copy_in(cursor: Any, database: BaseDatabaseWrapper, table: str, columns: list[str], source: Path) -> None:
    statement = f"COPY {tables.quoted(database, table)} ({tables.quoted(database, *columns)}) FROM STDIN"
    # Django does not translate what is raised inside a COPY by itself.
    with database.wrap_database_errors, source.open("rb") as file, cursor.copy(statement) as copy:
        while block := file.read(_CHUNK_BYTES):
            copy.write(block)


def _agree(table: str, rows: int, announced: int) -> None:
    if rows != announced:
        raise DumpError(f"{table} has {rows} rows and the manifest says {announced}: nothing was changed.")
