"""What the people who run this Modelyard have to look after: its processes, disk, certificate, backups, and keys."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from webapp.accounts.models import ApiKey, User
from webapp.foundation import paths
from webapp.interfaces.kit.concerns import MOST, Concern
from webapp.operations import backups as backing_up
from webapp.operations import heartbeats
from webapp.operations.models import Backup, BackupState

# Without this much, neither the database nor a backup can be written for long.
OWN_DISK_LOW_BYTES = 1024**3
CERTIFICATE_NEWS = timedelta(days=21)
KEY_NEWS = timedelta(days=7)
# A day between two daily backups, and half a one for machines that sleep.
BACKUP_USUAL = timedelta(hours=36)
# Two missed signs of life may be a restart.
SILENT_S = 2 * heartbeats.STALE_S


def processes(user: User) -> list[Concern]:
    """Processes that gave signs of life once and do no more."""
    if not user.is_superuser:
        return []
    now = timezone.now()
    return [
        Concern(
            "process", "silent", f"The process {name}", reverse("dashboard:settings_about"),
            f"It gave no sign of life for {age / 60:.0f} min: what it does is not done.",
            f"Look at its log (var/log/{name}.log), or start Modelyard again.", since=now - timedelta(seconds=age),
        )
        for name, age in sorted(heartbeats.ages(now).items())
        if age > SILENT_S and name.partition("@")[0] in heartbeats.PROCESSES
    ]  # fmt: skip


def disk(user: User) -> list[Concern]:
    """The disk under Modelyard's own files."""
    if not user.is_superuser:
        return []
    free = shutil.disk_usage(paths.state_dir()).free
    if free >= OWN_DISK_LOW_BYTES:
        return []
    return [
        Concern(
            "disk", "disk nearly full", "Disk of Modelyard itself", reverse("dashboard:settings_about"),
            f"{free / 1024**2:.0f} MiB are free under {paths.state_dir()}: soon nothing can be written down.",
            "Free some space there; old backups and logs may go.",
        )
    ]  # fmt: skip


def certificate(user: User) -> list[Concern]:
    """The TLS certificate of the one port, where Modelyard serves https itself."""
    name = os.environ.get("MODELYARD_TLS_CERT")
    if not user.is_superuser or not name:
        return []
    try:
        ends_at = x509.load_pem_x509_certificate(Path(name).read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return [_certificate("unreadable", f"{name} cannot be read: {error}")]
    left = ends_at - datetime.now(UTC)
    if left > CERTIFICATE_NEWS:
        return []
    if left < timedelta(0):
        return [_certificate("expired", f"It ended on {ends_at:%Y-%m-%d}: clients refuse {settings.MODELYARD_URL}.")]
    return [_certificate("ends soon", f"It ends on {ends_at:%Y-%m-%d}, in {left.days} days.")]


def _certificate(word: str, reason: str) -> Concern:
    advice = "Put a new one in the place of MODELYARD_TLS_CERT and start Modelyard again."
    return Concern("certificate", word, "TLS certificate", reverse("dashboard:settings_about"), reason, advice)


def backups(user: User) -> list[Concern]:
    """The daily backup: it failed, or has not been made for longer than a day."""
    if not user.is_superuser or backing_up.keep() == 0:
        return []
    newest = Backup.objects.scheduled().first()
    if newest is None:
        return []
    where = reverse("dashboard:help_page", args=["operations"])
    if newest.state == BackupState.FAILED:
        advice = (
            f"See whether {backing_up.folder()} can be written. It is tried again every hour; `make backup` tries now."
        )
        return [Concern("backup", "failed", "Daily backup", where, newest.reason, advice, "Help", newest.started_at)]
    if newest.started_at < timezone.now() - BACKUP_USUAL:
        reason = "None was made since." if newest.state == BackupState.DONE else "It has not finished."
        advice = "Check that beat and worker are running (/readyz); `make backup` makes one now."
        return [Concern("backup", "late", "Daily backup", where, reason, advice, "Help", newest.started_at)]
    return []


def keys(user: User) -> list[Concern]:
    """Keys that are in use and end soon."""
    now = timezone.now()
    rows = ApiKey.objects.visible_to(user).filter(
        revoked_at=None, expires_at__gt=now, expires_at__lt=now + KEY_NEWS, last_used_at__gt=now - KEY_NEWS
    )
    return [
        Concern(
            "key", "ends soon", f"API key {row.name}", reverse("accounts:keys"),
            f"It ends on {row.expires_at:%Y-%m-%d}, and programs use it.", "Move its end (Edit), or rotate it.", "Keys",
        )
        for row in rows.distinct().order_by("expires_at")[:MOST]
    ]  # fmt: skip
