"""Put a backup in the place of what is here. Everything that can be refused is refused before anything is changed,
and what was here is kept aside."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webapp.foundation import key_ring, paths
from webapp.foundation.key_ring import MasterKey
from webapp.operations import archive, master_key, running

# Of the key file that it is asked for.
Passphrase = Callable[[Path], str]


class RestoreRefused(Exception):
    """Nothing was changed; the text says why and what to do."""


@dataclass(slots=True)
class Restored:
    """What was done: the manifest, where the things of before are, and what a person should know."""

    manifest: dict[str, Any]
    aside: Path
    notes: list[str] = field(default_factory=list)


def restore(source: Path, key_files: Sequence[Path] = (), passphrase: Passphrase = lambda _file: "") -> Restored:
    """Restore the archive. Raises RestoreRefused, and then things are as they were.

    Django is set up in here, after the right master key is in its place: settings are derived from it.
    """
    why = running.refusal()
    if why:
        raise RestoreRefused(why)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    paths.state_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
    staging, aside = paths.state_dir() / f".restore-{stamp}", paths.state_dir() / f"before-restore-{stamp}"
    try:
        announced = archive.manifest_of(source)
        keys = _right_keys(announced, key_files, passphrase)
        staging.mkdir(mode=0o700)
        signing = next(key for key in keys if key.id == announced["key"])
        manifest = archive.unpack(source, staging, signing.secret)
        aside.mkdir(mode=0o700)
        with _keys_in_place(keys, aside):
            _set_up_django()
            done = Restored(manifest, aside)
            _replace(staging, done)
    except (archive.ArchiveError, master_key.KeyFileError) as error:
        raise RestoreRefused(str(error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with contextlib.suppress(OSError):
            # Only when nothing was put into it.
            aside.rmdir()
    return done


def _right_keys(manifest: dict[str, Any], key_files: Sequence[Path], passphrase: Passphrase) -> key_ring.Ring:
    """The keys that the installation will have: those that are here if they do, else those that the archive needs, the
    one that signed it first. A backup that was made while keys were rotated needs several, perhaps of several files."""
    wanted = _needed(manifest)
    here = {key.id: key for key in master_key.ring()}
    if set(wanted) <= set(here):
        return tuple(here.values())
    missing = ", ".join(sorted({name[:8] for name in wanted if name not in here}))
    if not key_files:
        what = "This installation has no master key" if not here else "This backup was made with another master key"
        raise RestoreRefused(
            f"{what} (it needs {missing}), and without the right one neither the archive nor the secrets in it can be "
            "trusted.\n"
            "Give the file that `make backup-key` wrote at that time and its passphrase: "
            "make restore FROM=backup KEY=keyfile"
        )
    opened: list[MasterKey] = []
    for file in key_files:
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            raise RestoreRefused(f"There is no file {file}.") from error
        except OSError as error:
            raise RestoreRefused(f"{file} cannot be read: {error.strerror}.") from error
        opened += map(MasterKey, master_key.open_key_file(content, passphrase(file)))
    found = here | {key.id: key for key in opened}
    lacking = [name[:8] for name in dict.fromkeys(wanted) if name not in found]
    if lacking:
        needs = f"it needs {', '.join(lacking)}"
        if len(lacking) < len(set(wanted)):
            raise RestoreRefused(
                f"This backup was made while the master key was rotated: {needs}, too.\n"
                "Give the key file of before and the one of after: "
                "python -m webapp.operations restore BACKUP --key FILE --key FILE"
            )
        given = ", ".join(dict.fromkeys(key.id[:8] for key in opened))
        raise RestoreRefused(f"The key in that file ({given}) is not the one this backup was made with: {needs}.")
    return tuple(found[name] for name in dict.fromkeys(wanted))


def _needed(manifest: dict[str, Any]) -> list[str]:
    """Ids of the keys that the archive says it needs, the one that signed it first. Nothing of it is believed yet."""
    more = manifest.get("keys", [])
    names = [manifest.get("key"), *(more if isinstance(more, list) else [None])]
    if not all(isinstance(name, str) and re.fullmatch("[0-9a-f]{24}", name) for name in names):
        raise RestoreRefused("This backup does not say which master key it was made with: it was damaged.")
    return [str(name) for name in names]


@contextlib.contextmanager
def _keys_in_place(keys: key_ring.Ring, aside: Path) -> Any:
    """The right keys where the processes look for them; those of before when what follows fails."""
    before = master_key.ring()
    if before == keys:
        yield
        return
    try:
        if before:
            shutil.copy2(master_key.path(), aside / "master.key")
        key_ring.store(keys)
    except OSError as error:
        (aside / "master.key").unlink(missing_ok=True)
        raise RestoreRefused(f"{master_key.path()} cannot be written: {error.strerror}.") from error
    try:
        yield
    except BaseException:
        if not before:
            master_key.path().unlink()
        else:
            key_ring.store(before)
            (aside / "master.key").unlink()
        raise


def _set_up_django() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()


def _replace(staging: Path, done: Restored) -> None:
    from webapp.operations import backups, heartbeats

    _check_fits(done.manifest)
    if done.manifest["database"] == "sqlite":
        _replace_sqlite(staging, done)
    else:
        _refuse_when_busy(heartbeats.lively)
        _replace_postgresql(staging, done, backups.write_archive)
    _replace_files(staging, done)


def _refuse_when_busy(lively: Callable[[], list[str]]) -> None:
    """Other machines may work on this database, which no lock of ours shows."""
    from django.db import DatabaseError

    try:
        others = lively()
    except DatabaseError:
        # Without these tables nobody of ours works on it.
        return
    if others:
        raise RestoreRefused(
            f"{', '.join(others)} worked on this database less than a minute ago: stop every process, wait, try again."
        )


def _check_fits(manifest: dict[str, Any]) -> None:
    from django.db import connection

    from webapp.operations import schema

    if manifest["database"] != connection.vendor:
        raise RestoreRefused(
            f"This backup is of a {manifest['database']} database, and MODELYARD_DATABASE_URL names "
            f"{connection.vendor}.\n"
            "Restore it where it came from (unset MODELYARD_DATABASE_URL for SQLite), then carry it over: "
            "manage.py move_database --to URL"
        )
    state = schema.compare(frozenset((str(app), str(name)) for app, name in manifest["migrations"]))
    if state.unknown:
        app, name = state.unknown[0]
        raise RestoreRefused(
            f"This backup was made by a newer Modelyard ({manifest['modelyard']}): restore it with that version. "
            f"Not known here: {app} {name}."
        )


def _replace_sqlite(staging: Path, done: Restored) -> None:
    from django.db import connection

    from webapp.operations import dump

    try:
        ready = dump.check_sqlite(staging, done.manifest)
    except dump.DumpError as error:
        raise RestoreRefused(str(error)) from error
    database = sqlite3.connect(ready)
    database.execute("UPDATE inventory_installation SET is_on_hold = 1")
    database.commit()
    database.close()
    target = Path(dump.sqlite_path())
    connection.close()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for suffix in ("-wal", "-shm", ""):
        part = Path(f"{target}{suffix}")
        if part.exists():
            shutil.move(part, done.aside / part.name)
    shutil.move(ready, target)


def _replace_postgresql(staging: Path, done: Restored, write_archive: Callable[[Path], object]) -> None:
    from django.db import DatabaseError, connection

    from webapp.operations import dump

    before = done.aside / "database.tar.gz"
    if connection.introspection.table_names():
        write_archive(before)

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE inventory_installation SET is_on_hold = true")

    try:
        dump.load_postgresql(staging, done.manifest, finish=hold)
    except (dump.DumpError, DatabaseError) as error:
        before.unlink(missing_ok=True)
        raise RestoreRefused(f"The backup could not be loaded: {error}") from error


def _replace_files(staging: Path, done: Restored) -> None:
    """Usage records that were not delivered; and nothing that belongs to the database of before."""
    for folder in (paths.gateway_dir(), paths.state_dir() / "valkey"):
        if folder.exists():
            shutil.move(folder, done.aside / folder.name)
    usage = paths.gateway_dir() / "usage" / "0"
    found = sorted((staging / "usage").glob("*.jsonl")) if (staging / "usage").exists() else []
    if found:
        usage.mkdir(mode=0o700, parents=True)
        paths.gateway_dir().chmod(0o700)
    for path in found:
        shutil.move(path, usage / path.name)
