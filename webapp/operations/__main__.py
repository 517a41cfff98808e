"""`make backup`, `backup-key`, `rotate-key`, `restore`: what must work when there is little left to work with."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

PASSPHRASE = "MODELYARD_BACKUP_PASSPHRASE"  # noqa: S105 - the variable's name


class Stop(Exception):
    """What to tell the person instead of going on."""


def main() -> int:
    """Do one command; 0 when it is done, 1 with one message when it is refused."""
    parser = argparse.ArgumentParser(prog="python -m webapp.operations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    backup = commands.add_parser("backup", help="back up this Modelyard, also while it runs")
    backup.add_argument("--to", type=Path, help="the archive to write (default: a dated one in MODELYARD_BACKUP_DIR)")
    backup.add_argument("--row", type=int, help=argparse.SUPPRESS)
    key = commands.add_parser("backup-key", help="export the master key under a passphrase")
    key.add_argument(
        "--to", type=Path, help="the key file to write (default: modelyard-key.json in MODELYARD_BACKUP_DIR)"
    )
    commands.add_parser("rotate-key", help="replace the master key, also while Modelyard runs")
    restore = commands.add_parser("restore", help="put a backup in the place of what is here")
    restore.add_argument("source", type=Path, help="the archive")
    restore.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        help="the key file, where the master key is not here; given twice, of a backup made during a rotation",
    )
    words = parser.parse_args()
    try:
        if words.command == "backup":
            return _backup(words.to, words.row)
        if words.command == "rotate-key":
            return _rotate_key()
        return _backup_key(words.to) if words.command == "backup-key" else _restore(words.source, words.key)
    except Stop as refusal:
        print(f"\n{refusal}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _backup(target: Path | None, row: int | None) -> int:
    from webapp.operations import master_key

    if master_key.read() is None:
        raise Stop(f"There is nothing to back up: no master key at {master_key.path()}. Check MODELYARD_STATE_DIR.")
    _django()
    from webapp.operations import backups, schema
    from webapp.operations.models import Backup

    if not schema.inspect().is_current:
        raise Stop(f"{schema.refusal()}")
    try:
        if row is not None:
            backups.carry_out_scheduled(Backup.objects.get(pk=row))
            return 0
        done = backups.take(target)
    except backups.BackupFailed as error:
        raise Stop(str(error)) from error
    size = done.size_bytes
    print(f"Backup: {done.path} ({f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{size / 1e3:.0f} kB'})")
    print("The master key is not in it. Keep both apart, and the key at all: make backup-key")
    return 0


def _backup_key(target: Path | None) -> int:
    from webapp.operations import master_key

    keys = [key.secret for key in master_key.ring()]
    if not keys:
        raise Stop(f"There is no master key at {master_key.path()}. Check MODELYARD_STATE_DIR.")
    path = target or _backup_dir() / "modelyard-key.json"
    try:
        document = master_key.export(keys, _new_passphrase())
    except master_key.KeyFileError as error:
        raise Stop(str(error)) from error
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    master_key.write_private(path, document)
    print(f"Master key {_named(keys)}: {path}\nIt opens with the passphrase alone. Keep it away from the backups.")
    return 0


def _rotate_key() -> int:
    from webapp.operations import master_key

    if not master_key.ring():
        raise Stop(f"There is no master key at {master_key.path()}. Check MODELYARD_STATE_DIR.")
    _django()
    from webapp.foundation.errors import ServiceError
    from webapp.operations import heartbeats, rotating, running, schema

    if not schema.inspect().is_current:
        raise Stop(f"{schema.refusal()}")
    is_alone = running.refusal() is None and not heartbeats.lively() and not running.web_listens()
    try:
        begun = rotating.rotate(None, who="make rotate-key")
    except ServiceError as error:
        raise Stop(str(error)) from error
    print(f"Master key {begun.keys[0].id[:8]} writes; {begun.rows_behind} rows are under an older one.", flush=True)
    has_ended = rotating.advance(sys.maxsize, is_alone=is_alone)
    left = rotating.status()
    if has_ended:
        print("The old key was dropped. People sign in again.")
    else:
        until = f"until {left.drops_at:%H:%M} UTC" if left.drops_at else "for now"
        print(
            f"{left.rows_behind} rows are left. {', '.join(key.id[:8] for key in left.keys[1:])} reads on {until}; "
            "then a running Modelyard drops it, or the next `make rotate-key` does."
        )
    print("Save the new key: make backup-key. Backups made until now need the key file of before: keep it with them.")
    return 0


def _named(keys: list[bytes]) -> str:
    """Their ids, as people compare them."""
    from webapp.foundation import key_ring

    return ", ".join(key_ring.fingerprint(key)[:8] for key in keys)


def _restore(source: Path, key_files: list[Path]) -> int:
    from webapp.operations import restoring

    try:
        done = restoring.restore(source, key_files, lambda file: _passphrase(f"Passphrase of {file.name}: "))
    except restoring.RestoreRefused as error:
        raise Stop(f"{error}\nNothing was changed.") from error
    rows = sum(about["rows"] for about in done.manifest["tables"].values())
    kept = (
        f"What was here is kept in {done.aside}; remove it when you need it no more.\n" if done.aside.exists() else ""
    )
    print(
        f"Restored {source.name} of {done.manifest['made_at']} (Modelyard {done.manifest['modelyard']}, "
        f"{len(done.manifest['tables'])} tables, {rows} rows).\n"
        f"{kept}"
        "Next: `make run`. People sign in again, as sessions are in no backup.\n"
        "The installation is on hold: engines that this backup does not know are kept until an admin ends the hold:\n"
        "on a host's page, or with `modelyard hold delete`."
    )
    return 0


def _django() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()


def _backup_dir() -> Path:
    from webapp.foundation import paths

    return Path(os.environ.get("MODELYARD_BACKUP_DIR") or paths.state_dir() / "backups").resolve()


def _passphrase(prompt: str) -> str:
    found = os.environ.get(PASSPHRASE)
    if found:
        return found
    if not sys.stdin.isatty():
        raise Stop(f"A passphrase is needed: run this on a terminal, or set {PASSPHRASE}.")
    return getpass.getpass(prompt)


def _new_passphrase() -> str:
    first = _passphrase("Passphrase for the key file (12 characters or more): ")
    if not os.environ.get(PASSPHRASE) and getpass.getpass("Once more: ") != first:
        raise Stop("The two were not the same. Nothing was written.")
    return first


if __name__ == "__main__":
    sys.exit(main())
