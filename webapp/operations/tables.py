"""All tables of a database as plain rows: what backups count and copy, and what a move carries over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

# Whoever finds a session's key in a backup would be signed in: people sign in again after a restore.
LEFT_OUT = frozenset({"django_session", "usersessions_usersession"})


def names(database: BaseDatabaseWrapper) -> list[str]:
    """Every table of Modelyard's that exists, Django's own among them."""
    ours = set(database.introspection.django_table_names(only_existing=True, include_views=False))
    return sorted({*ours, "django_migrations"} & set(database.introspection.table_names()))


def columns(database: BaseDatabaseWrapper, table: str) -> list[str]:
    """Column names in the table's own order."""
    with database.cursor() as cursor:
        return [str(column.name) for column in database.introspection.get_table_description(cursor, table)]


def count(database: BaseDatabaseWrapper, table: str) -> int:
    with database.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {quoted(database, table)}")  # noqa: S608 - a quoted name
        return int(cursor.fetchone()[0])


def counts(database: BaseDatabaseWrapper) -> dict[str, int]:
    """Rows per table."""
    return {table: count(database, table) for table in names(database)}


def quoted(database: BaseDatabaseWrapper, *identifiers: str) -> str:
    """Names as this database quotes them, separated by commas."""
    return ", ".join(str(database.ops.quote_name(name)) for name in identifiers)


def size_bytes(database: BaseDatabaseWrapper) -> int:
    """How much the database holds on disk."""
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
        cursor.execute("PRAGMA page_count")
        pages = int(cursor.fetchone()[0])
        cursor.execute("PRAGMA page_size")
        return pages * int(cursor.fetchone()[0])


def reset_sequences(database: BaseDatabaseWrapper) -> None:
    """After rows came with their ids: the next id is behind the largest. SQLite does that by itself."""
    if database.vendor != "postgresql":
        return
    with database.cursor() as cursor:
        for table, column, sequence in list(_sequences(database)):
            name = quoted(database, column)
            cursor.execute(
                f"SELECT setval(%s, COALESCE(MAX({name}), 1), MAX({name}) IS NOT NULL) "  # noqa: S608
                f"FROM {quoted(database, table)}",
                [sequence],
            )


def _sequences(database: BaseDatabaseWrapper) -> Iterator[tuple[str, str, str]]:
    with database.cursor() as cursor:
        for table in names(database):
            for column in columns(database, table):
                cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [quoted(database, table), column])
                found: Any = cursor.fetchone()
                if found and found[0]:
                    yield table, column, str(found[0])
