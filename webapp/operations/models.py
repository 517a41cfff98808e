"""What the processes say about themselves, and how the backups went."""

from typing import ClassVar

from django.db import models

from webapp.control.moves import known_words


class Heartbeat(models.Model):
    """The last sign of life of one process. `facts`: {pid, started_at, rss_bytes, cpu_s, ...}."""

    name = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField()
    facts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class BackupState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


BACKUP_MOVES: dict[BackupState, frozenset[BackupState]] = {
    BackupState.RUNNING: frozenset({BackupState.DONE, BackupState.FAILED}),
    BackupState.DONE: frozenset(),
    # One that was given up for dead may come to its end after all.
    BackupState.FAILED: frozenset({BackupState.DONE}),
}


class BackupQuerySet(models.QuerySet["Backup"]):
    def scheduled(self) -> "BackupQuerySet":
        """Those that Modelyard made by itself, newest first."""
        return self.filter(is_scheduled=True).order_by("-started_at")


class Backup(models.Model):
    """One attempt at a backup. The file is the backup; this row only says how it went."""

    started_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    is_scheduled = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=BackupState.choices, default=BackupState.RUNNING)
    path = models.CharField(max_length=500, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    reason = models.CharField(max_length=500, blank=True)

    objects: ClassVar[models.Manager["Backup"]] = BackupQuerySet.as_manager()

    class Meta:
        constraints = [known_words(BackupState, "backup_state_known")]

    def __str__(self) -> str:
        return f"backup of {self.started_at:%Y-%m-%d %H:%M}"
