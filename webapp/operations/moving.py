"""Carry everything to another database: SQLite to PostgreSQL and back, with both sides compared row by row."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from webapp.foundation import paths
from webapp.operations import heartbeats, running, schema, tables
from webapp.settings import database_from_url

TARGET = "move_target"
BATCH_ROWS = 1000
SAY_EVERY_S = 2.0
# A new schema fills these by itself.
_FILLED_BY_MIGRATIONS = frozenset({"django_migrations", "django_content_type", "auth_permission", "catalog_hub"})
_MODULUS = 1 << 256
_PLACE = ("HOST", "PORT")

Say = Callable[[str], None]
Rows = Iterator[tuple[Any, ...]]


class MoveRefused(Exception):
    """The text says why and what to do. The database of before is untouched and stays in use."""


@dataclass(slots=True)
class Moved:
    """Rows per table, and how many texts lost a NUL character, which PostgreSQL cannot hold."""

    rows: dict[str, int]
    cleaned: int = 0


@dataclass(slots=True)
class _Sum:
    """A checksum that does not depend on the order of rows: two databases sort text differently."""

    rows: int = 0
    value: int = 0

    def add(self, row: tuple[Any, ...]) -> None:
        text = json.dumps([canonical(value) for value in row], sort_keys=True, ensure_ascii=True)
        self.value = (self.value + int.from_bytes(hashlib.sha256(text.encode()).digest())) % _MODULUS
        self.rows += 1


def move(url: str, say: Say) -> Moved:
    """Copy the default database's content into the empty one at `url`. Raises MoveRefused."""
    _refuse_beside_processes()
    _connect(url)
    try:
        target = connections[TARGET]
        _make_schema(url, target, say)
        return _copy_all(target, say)
    except DatabaseError as error:
        raise MoveRefused(f"{shown(url)}: {error}") from error
    finally:
        connections[TARGET].close()
        del connections[TARGET]


def shown(url: str) -> str:
    """The address without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":…@")))


def canonical(value: Any) -> Any:
    """A value as both databases mean it: UTC, numbers without a difference between 1.0 and 1."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, float):
        # Neither -0.0 nor 1e22 survives PostgreSQL's jsonb as a float.
        return int(value) if value.is_integer() else value
    if isinstance(value, Decimal):
        return str(value.normalize())
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return value if value is None or isinstance(value, str | int | bool) else _text(value)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _refuse_beside_processes() -> None:
    why = running.refusal()
    others = heartbeats.lively() if why is None else []
    if others:
        why = f"{', '.join(others)} worked on this database less than a minute ago: stop every process, then try again."
    if why is None and not schema.inspect().is_current:
        why = schema.refusal()
    if why:
        raise MoveRefused(why)


def _connect(url: str) -> None:
    try:
        about = database_from_url(url)
    except ValueError as error:
        raise MoveRefused(str(error)) from error
    if _address(about) == _address(connection.settings_dict):
        raise MoveRefused(f"{shown(url)} is the database in use: name another one.")
    if about["ENGINE"] == "django.db.backends.postgresql":
        # Thirty seconds are for requests; a large table takes as long as it takes.
        about["OPTIONS"] = {**about["OPTIONS"], "options": "-c lock_timeout=5s -c statement_timeout=0"}
    complete = connections.configure_settings({"default": about})["default"]
    connections[TARGET] = load_backend(complete["ENGINE"]).DatabaseWrapper(complete, TARGET)


def _address(about: dict[str, Any]) -> tuple[str, ...]:
    name = str(about["NAME"])
    is_file = "sqlite" in about["ENGINE"]
    return (about["ENGINE"], os.path.realpath(name) if is_file else name, *(str(about.get(n) or "") for n in _PLACE))


def _make_schema(url: str, target: BaseDatabaseWrapper, say: Say) -> None:
    """The schema by the migrations themselves, in a process whose default database is the target."""
    known = set(tables.names(target))
    others = set(target.introspection.table_names()) - known - {settings.CACHES["default"]["LOCATION"]}
    filled = [t for t in sorted(known - _FILLED_BY_MIGRATIONS) if tables.count(target, t)]
    if others or filled:
        what = ", ".join([*filled, *sorted(others)][:3])
        raise MoveRefused(f"{shown(url)} is not empty ({what}). Make a new, empty database and name that.")
    if schema.inspect(target).is_current:
        return
    say(f"Making the schema in {shown(url)}")
    target.close()
    # The address may hold a password: by environment, where no process list shows it.
    environment = {**os.environ, "MODELYARD_DATABASE_URL": url}
    command = [sys.executable, "manage.py", "upgrade", "--no-backup", "--while-starting"]
    done = subprocess.run(command, cwd=paths.REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise MoveRefused("\n".join(done.stderr.strip().splitlines()[-3:]))


def _copy_all(target: BaseDatabaseWrapper, say: Say) -> Moved:
    moved = Moved({})
    sums: dict[str, _Sum] = {}
    order = in_order()
    with transaction.atomic(), transaction.atomic(using=TARGET):
        with target.cursor() as cursor:
            for model in reversed(order):
                cursor.execute(f"DELETE FROM {tables.quoted(target, model._meta.db_table)}")  # noqa: S608
        for model in order:
            table = model._meta.db_table
            sums[table] = _copy_table(model, target, moved, say)
            moved.rows[table] = sums[table].rows
        tables.reset_sequences(target)
        say("Comparing both sides")
        for model in order:
            _compare(model, sums[model._meta.db_table])
    return moved


def in_order() -> list[type[models.Model]]:
    """Every model with a table of its own, after those it points to."""
    left = [m for m in apps.get_models(include_auto_created=True) if m._meta.managed and not m._meta.proxy]
    done: list[type[models.Model]] = []
    while left:
        # Circles are broken anywhere: constraints are checked at the commit.
        ready = [m for m in left if not any(t in left and t is not m for t in _targets(m))] or left[:1]
        done += ready
        left = [m for m in left if m not in ready]
    return done


def _targets(model: type[models.Model]) -> list[Any]:
    return [field.related_model for field in _fields(model) if field.is_relation]


def _fields(model: type[models.Model]) -> list[Any]:
    return [field for field in model._meta.local_concrete_fields if not getattr(field, "generated", False)]


def _rows(model: type[models.Model], using: str) -> Rows:
    names = [field.attname for field in _fields(model)]
    return model._base_manager.using(using).order_by("pk").values_list(*names).iterator(chunk_size=BATCH_ROWS)


def _copy_table(model: type[models.Model], target: BaseDatabaseWrapper, moved: Moved, say: Say) -> _Sum:
    table, found = model._meta.db_table, _Sum()
    total = tables.count(connection, table)
    said_at = time.monotonic()

    def cleaned() -> Rows:
        nonlocal said_at
        for row in _rows(model, "default"):
            clean = tuple(_without_nul(value) for value in row)
            moved.cleaned += sum(a is not b for a, b in zip(clean, row, strict=True))
            found.add(clean)
            if time.monotonic() - said_at > SAY_EVERY_S:
                said_at = time.monotonic()
                say(f"{table}: {found.rows} of {total} rows")
            yield clean

    try:
        _insert(model, target, cleaned())
    except DatabaseError as error:
        raise MoveRefused(f"A row of {table} does not fit into the new database: {error}") from error
    if found.rows:
        say(f"{table}: {found.rows} rows")
    return found


def _without_nul(value: Any) -> Any:
    """The value itself, or a copy without NUL characters."""
    if isinstance(value, str):
        return value.replace("\x00", "") if "\x00" in value else value
    if isinstance(value, dict | list) and "\\u0000" in json.dumps(value):
        return json.loads(json.dumps(value).replace("\\u0000", ""))
    return value


def _insert(model: type[models.Model], target: BaseDatabaseWrapper, rows: Rows) -> None:
    fields = _fields(model)
    into = f"{tables.quoted(target, model._meta.db_table)} ({tables.quoted(target, *(f.column for f in fields))})"

    def prepared() -> Rows:
        for row in rows:
            pairs = zip(fields, row, strict=True)
            yield tuple(field.get_db_prep_save(value, connection=target) for field, value in pairs)

    found = prepared()
    with target.cursor() as cursor:
        if target.vendor == "postgresql":
            # Django does not translate what is raised inside a COPY by itself.
            with target.wrap_database_errors, cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in found:
                    copy.write_row(row)
        else:
            statement = f"INSERT INTO {into} VALUES ({', '.join(['%s'] * len(fields))})"  # noqa: S608
            while batch := list(itertools.islice(found, BATCH_ROWS)):
                cursor.executemany(statement, batch)


def _compare(model: type[models.Model], wanted: _Sum) -> None:
    found = _Sum()
    for row in _rows(model, TARGET):
        found.add(row)
    if found != wanted:
        raise MoveRefused(
            f"{model._meta.db_table} is not the same on both sides ({wanted.rows} rows here, {found.rows} there, "
            "or other content): nothing was moved."
        )
