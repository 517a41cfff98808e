"""One counter per subject."""

from django.db import models
from django.utils import timezone


class Topic(models.Model):
    """A subject that pages and processes follow, for example `deployment:7`, with the number of its last change."""

    name = models.CharField(max_length=100, primary_key=True)
    version = models.BigIntegerField(default=0)
    # The writer's clock: SQLite's own writes other fractions than Django compares with.
    changed_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.version}"
