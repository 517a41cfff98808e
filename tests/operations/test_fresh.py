"""A new database is made from the models at once. It is the one that all migrations lead to."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps

from tests.parts.postgres import postgres
from webapp.foundation.paths import REPOSITORY

Described = dict[str, Counter[str]]

# Django's auth counts its own tables' rows in integers, which its migrations are not told of. Nothing here uses groups.
_BIG_BY_MIGRATIONS = ("auth_group_permissions", "id")

MIGRATED, NEW = ("migrate", "-v0"), ("upgrade", "--no-backup")
# Each installation has its own, and the moment at which a row was made says nothing.
_VOLATILE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.\d]*(\+00:00)?")
# Django names what has no name after the table and the columns as they were called at the time.
_NAMED = {rule.name for model in apps.get_models() for rule in (*model._meta.constraints, *model._meta.indexes)}


def run(words: tuple[str, ...], url: str, state: Path) -> str:
    environment = {**os.environ, "MODELYARD_STATE_DIR": str(state), "MODELYARD_DATABASE_URL": url}
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def on_sqlite(words: tuple[str, ...], folder: Path) -> Described:
    file = folder / "db.sqlite3"
    run(words, f"sqlite:///{file}", folder)
    with contextlib.closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        # SQLite's own table of counters has a row as soon as a table was made anew, which is nobody's data.
        found = [row for row in found if row[1] != "sqlite_sequence"]
        tables = sorted(name for kind, name, _table, _sql in found if kind == "table")
        described = {table: Counter(_rows(database.execute(f'SELECT * FROM "{table}"'))) for table in tables}
        for kind, name, table, sql in found:
            if kind == "table":
                described[table].update(_parts_of_table(sql))
            elif sql:
                described[table].update([f"{_named(name)}{sql.replace(name, '…')}"])
    return described


def _parts_of_table(sql: str) -> Iterator[str]:
    """Columns and constraints of CREATE TABLE, each for itself: their order is that of their coming."""
    inside, depth, part = sql[sql.index("(") + 1 : sql.rindex(")")], 0, ""
    for letter in inside:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            yield _plain(part)
            part = ""
        else:
            part += letter
    yield _plain(part)


def _plain(part: str) -> str:
    return re.sub(r"\s+", " ", part).strip()


_OF_POSTGRESQL = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default, is_identity,
               collation_name
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal""",
    "functions": """
        SELECT proname, '', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
}


def on_postgresql(words: tuple[str, ...], folder: Path) -> Described:
    with postgres() as url:
        run(words, url, folder)
        with psycopg.connect(url) as database:
            described: Described = {}
            for table, *column in database.execute(_OF_POSTGRESQL["columns"]).fetchall():
                if (table, column[0]) == _BIG_BY_MIGRATIONS:
                    column[1] = "any integer"
                described.setdefault(table, Counter()).update([str(column)])
            for what in ("constraints", "indexes", "triggers", "functions"):
                for table, name, text in database.execute(_OF_POSTGRESQL[what]).fetchall():
                    told = text.replace(name, "…") if name else text
                    described.setdefault(table, Counter()).update([f"{what} {_named(name)}{told}"])
            for table in list(described):
                with contextlib.suppress(psycopg.errors.UndefinedTable), database.transaction():
                    described[table].update(_rows(database.execute(f'SELECT * FROM "{table}"')))
    return described


def _named(name: str) -> str:
    return f"{name} " if name in _NAMED else ""


def _rows(cursor: Any) -> Iterator[str]:
    """Each row by the names of its columns, without its number and its moment."""
    names = [column[0] for column in cursor.description]
    for row in cursor:
        told = {name: _VOLATILE.sub("then", str(value)) for name, value in zip(names, row, strict=True)}
        yield str(sorted((name, value) for name, value in told.items() if name not in ("id", "content_type_id")))


@pytest.mark.parametrize("describe", [on_sqlite, on_postgresql])
def test_a_new_database_is_what_all_migrations_lead_to(
    describe: Callable[[tuple[str, ...], Path], Described], tmp_path: Path
) -> None:
    found = {}
    for words in (MIGRATED, NEW):
        folder = tmp_path / words[0]
        folder.mkdir()
        found[words] = describe(words, folder)
    migrated, new = found[MIGRATED], found[NEW]
    assert len(new) > 50
    assert new.keys() == migrated.keys()
    differing = {
        table: {
            "only when new": list(new[table] - migrated[table]),
            "only by migrations": list(migrated[table] - new[table]),
        }
        for table in new
        if new[table] != migrated[table]
    }
    assert not differing


def test_a_beginning_that_is_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    cut_off = (
        "import os, django; django.setup()\n"
        "from webapp.operations import fresh\n"
        "fresh.fill = lambda: os._exit(9)\n"
        "fresh.make()"
    )
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    more = {"MODELYARD_STATE_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    environment = {**os.environ, **more, "MODELYARD_DATABASE_URL": url}
    assert subprocess.run([sys.executable, "-c", cut_off], cwd=REPOSITORY, env=environment).returncode == 9
    assert "is empty: an upgrade would make its tables" in run(("upgrade", "--dry-run"), url, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert "The database is new" in run(NEW, url, tmp_path)
