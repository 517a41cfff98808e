"""One counter per subject."""

from django.db import models


class Topic(models.Model):
    """A subject that pages and processes follow, for example `deployment:7`, with the number of its last change."""

    name = models.CharField(max_length=100, primary_key=True)
    version = models.BigIntegerField(default=0)
    changed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.version}"
