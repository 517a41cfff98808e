"""Does the database's schema fit this code? Asked by every process before it starts.

Compared by name: the rows of django_migrations with the files on disk. Nothing is imported for it, as a process that
starts needs none of the migrations in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SchemaState:
    """`missing` migrations are to be applied; `unknown` ones were applied by a Modelyard that is newer than this."""

    applied: frozenset[Name]
    missing: tuple[Name, ...]
    unknown: tuple[Name, ...]

    @property
    def is_empty(self) -> bool:
        """Nobody has migrated this database yet."""
        return not self.applied

    @property
    def is_current(self) -> bool:
        return not self.missing and not self.unknown


def known() -> frozenset[Name]:
    """Every migration that this code brings, as (app label, name)."""
    found: set[Name] = set()
    for config in apps.get_app_configs():
        spec = find_spec(f"{config.name}.migrations") if _has_migrations(config.path) else None
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found.update((config.label, path.stem) for path in Path(folder).glob("[!_~.]*.py"))
    return frozenset(found)


def inspect(database: BaseDatabaseWrapper | None = None) -> SchemaState:
    """Compare what was applied with what this code brings."""
    applied = frozenset(MigrationRecorder(database or connection).applied_migrations())
    return compare(applied)


def compare(applied: frozenset[Name]) -> SchemaState:
    """What is missing of, and unknown among, these applied migrations. Those of apps that are gone do not matter."""
    ours = known()
    labels = {config.label for config in apps.get_app_configs()}
    unknown = {name for name in applied - ours if name[0] in labels}
    return SchemaState(applied, tuple(sorted(ours - applied)), tuple(sorted(unknown)))


def refusal(state: SchemaState | None = None) -> str | None:
    """Why no process may work on this database, with what to do; None when all is well."""
    state = state or inspect()
    if state.unknown:
        return (
            f"The database was made by a newer Modelyard ({_listed(state.unknown)} is not known here). "
            "Go back to that version, or restore a backup from before the upgrade: make restore FROM=file."
        )
    if state.is_empty:
        return "The database is empty: run `make run`, or `manage.py upgrade` where there is no make."
    if state.missing:
        return (
            f"The database is not up to date: {len(state.missing)} migrations are missing ({_listed(state.missing)}). "
            "Stop every process and run `manage.py upgrade` (it takes a backup first); `make run` does it by itself. "
            "If an upgrade broke off, run it again, or restore the backup it made: make restore FROM=file."
        )
    return None


def _has_migrations(folder: str) -> bool:
    return (Path(folder) / "migrations").is_dir()


def _listed(names: tuple[Name, ...]) -> str:
    first = ", ".join(f"{app} {name}" for app, name in names[:3])
    return first + (" …" if len(names) > 3 else "")
