"""Take a backup: the database as of one moment, usage records that are not in it yet, and a manifest to judge both."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from webapp.control.moves import States
from webapp.foundation import paths
from webapp.inventory.models import Installation
from webapp.operations import archive, dump, master_key
from webapp.operations.models import BACKUP_MOVES, Backup, BackupState
from webapp.operations.version import version

logger = logging.getLogger(__name__)

DAY = timedelta(hours=24)
# A backup that is still "running" after this was killed.
LONGEST = timedelta(hours=6)
RETRY = timedelta(hours=1)
KEPT_ROWS = 60
_OURS = re.compile(r"modelyard-\d{8}-\d{6}(-[a-z-]+)?\.tar\.gz")
# Settings that a backup names with their values: none of them can hold a secret.
SHOWN_SETTINGS = ("MODELYARD_URL", "MODELYARD_BIND", "MODELYARD_PORT", "MODELYARD_GATEWAY_PROCESSES")


class BackupFailed(Exception):
    """No backup was made; the text says why."""


class _Backups(States[Backup]):
    model = Backup
    moves = BACKUP_MOVES


BACKUPS = _Backups()


def folder() -> Path:
    """Where backups go: MODELYARD_BACKUP_DIR, or `backups` in the state folder."""
    return Path(os.environ.get("MODELYARD_BACKUP_DIR") or paths.state_dir() / "backups").resolve()


def keep() -> int:
    """How many scheduled backups are kept (MODELYARD_BACKUP_KEEP, 7); 0 switches them off."""
    text = os.environ.get("MODELYARD_BACKUP_KEEP") or "7"
    return int(text) if text.isdigit() else 7


def take(target: Path | None = None, label: str = "", is_scheduled: bool = False) -> Backup:
    """Make one backup now, beside whatever runs. Raises BackupFailed; the row says it either way."""
    row = _begin(is_scheduled)
    path = target or folder() / f"modelyard-{row.started_at:%Y%m%d-%H%M%S}{'-' + label if label else ''}.tar.gz"
    return carry_out(row, path)


def carry_out(row: Backup, path: Path) -> Backup:
    """Make the file of a backup that was begun, and write down how it went. Raises BackupFailed."""
    try:
        write_archive(path)
    except (OSError, DatabaseError, sqlite3.Error, archive.ArchiveError, master_key.KeyFileError) as error:
        _end(row, BackupState.FAILED, reason=str(error)[:500])
        raise BackupFailed(f"No backup was made: {error}") from error
    _end(row, BackupState.DONE, path=str(path), size_bytes=path.stat().st_size)
    return row


def write_archive(path: Path) -> dict[str, object]:
    """Write the archive alone, without a row about it; its manifest. Raises OSError, DatabaseError."""
    keys = master_key.ring()
    if not keys:
        raise master_key.KeyFileError(f"There is no master key at {master_key.path()}.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # On the target's own disk: what does not fit there is noticed before the last moment.
    with tempfile.TemporaryDirectory(prefix=".modelyard-backup-", dir=path.parent) as name:
        staging = Path(name)
        # Usage first: a record that reaches the database meanwhile is in both, and is counted once by its id.
        _copy_usage(staging / "usage")
        facts = dump.take(staging)
        installation = Installation.objects.values_list("pk", flat=True).first()
        about = {
            "modelyard": version(),
            "made_at": timezone.now().isoformat(timespec="seconds"),
            "installation": str(installation) if installation else None,
            "settings": {name: os.environ.get(name) for name in SHOWN_SETTINGS},
            "settings_set": sorted(name for name in os.environ if name.startswith("MODELYARD_")),
        }
        # A rotation may have begun meanwhile: whatever the rows are under is among the keys of before and after.
        ring = master_key.ring()
        needed = {"keys": sorted({key.id for key in (*keys, *ring)})}
        return archive.write(path, staging, {**about, **facts, **needed}, ring[0].secret)


def begin_scheduled(now: datetime | None = None) -> Backup | None:
    """The row of the daily backup when one is due and nobody has begun it; else None.

    Two sweeps at once: both may look, but only the one whose row stays the oldest of the running ones goes on.
    """
    now = now or timezone.now()
    if keep() == 0:
        return None
    scheduled = Backup.objects.scheduled()
    for dead in scheduled.filter(state=BackupState.RUNNING, started_at__lt=now - LONGEST):
        why = "It never ended: the process that made it was stopped."
        BACKUPS.move(dead, BackupState.RUNNING, BackupState.FAILED, why, ended_at=now)
    recent = Q(state=BackupState.DONE, started_at__gt=now - DAY) | Q(state=BackupState.RUNNING)
    if scheduled.filter(recent | Q(state=BackupState.FAILED, started_at__gt=now - RETRY)).exists():
        return None
    row = Backup.objects.create(started_at=now, is_scheduled=True)
    first = scheduled.filter(state=BackupState.RUNNING).order_by("pk").first()
    if first is not None and first.pk != row.pk:
        row.delete()
        return None
    return row


def carry_out_scheduled(row: Backup) -> Backup:
    """Make the daily backup, then let the oldest ones go. Raises BackupFailed."""
    path = folder() / f"modelyard-{row.started_at:%Y%m%d-%H%M%S}-daily.tar.gz"
    carry_out(row, path)
    forget_old()
    return row


def forget_old() -> list[Path]:
    """Remove all but the newest daily backups; only files that we named ourselves, and never the last one."""
    ours = sorted(path for path in folder().glob("modelyard-*-daily.tar.gz") if _OURS.fullmatch(path.name))
    gone = ours[: max(0, len(ours) - max(1, keep()))]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def warning() -> str | None:
    """What people should know about the backups; None when all is well. One query. For the home page."""
    last = Backup.objects.scheduled().exclude(state=BackupState.RUNNING).first()
    if last is not None and last.state == BackupState.FAILED:
        return f"The last daily backup failed ({last.started_at:%d %B, %H:%M} UTC): {last.reason}"
    return None


def last_done() -> Backup | None:
    """The newest backup that was made, whoever asked for it."""
    return Backup.objects.filter(state=BackupState.DONE).order_by("-started_at").first()


def free_bytes(where: Path | None = None) -> int:
    """Free disk where backups go."""
    place = where or folder()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _begin(is_scheduled: bool) -> Backup:
    return Backup.objects.create(started_at=timezone.now(), is_scheduled=is_scheduled)


def _end(row: Backup, state: BackupState, reason: str = "", **columns: Any) -> None:
    row.refresh_from_db()
    with transaction.atomic():
        if row.state != state:
            BACKUPS.move(row, BackupState(row.state), state, reason, ended_at=timezone.now(), **columns)
        kept = Backup.objects.order_by("-started_at").values_list("pk", flat=True)[:KEPT_ROWS]
        Backup.objects.exclude(pk__in=list(kept)).delete()
    if state == BackupState.FAILED:
        logger.error("backup failed: %s", reason)


def _copy_usage(target: Path) -> None:
    """The gateways' usage records that web has not confirmed. A last line that is being written may be torn; the
    gateway that reads it leaves it out, and it is whole in the database or in the next backup."""
    source = paths.gateway_dir() / "usage"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(source.glob("*/*.jsonl")):
        try:
            shutil.copyfile(path, target / f"{path.parent.name}-{path.name}")
        except FileNotFoundError:
            # Delivered between our look and our copy.
            continue


def database_name() -> str:
    """The default database without its password, for messages."""
    about = settings.DATABASES["default"]
    return str(about["NAME"]) if "sqlite" in about["ENGINE"] else f"{about['HOST'] or 'localhost'}/{about['NAME']}"
