"""What is written down about replicas: their events and their logs."""

from typing import ClassVar

from django.db import models

from webapp.deployments.models.serving import Deployment, Replica


class ReplicaEvent(models.Model):
    """The events of a deployment: one row per move, in the move's own transaction. Appended, never changed."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="events")
    # The replica's number in its deployment: the row may be gone long before its history.
    replica_ordinal = models.PositiveIntegerField(null=True)
    revision_number = models.PositiveIntegerField(null=True)
    at = models.DateTimeField(auto_now_add=True)
    old_state = models.CharField(max_length=10, blank=True)
    new_state = models.CharField(max_length=10, blank=True)
    reason_code = models.CharField(max_length=40, blank=True)
    text = models.CharField(max_length=500, blank=True)
    actor = models.CharField(max_length=150, blank=True)

    search_columns: ClassVar[tuple[str, ...]] = ("text", "actor", "new_state")

    class Meta:
        ordering = ["-id"]


class LogChunk(models.Model):
    """A piece of an engine's log as the watcher read it. `offset` counts characters since the attempt began."""

    replica = models.ForeignKey(Replica, on_delete=models.CASCADE, related_name="log_chunks")
    generation = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField()
    offset = models.BigIntegerField()
    text = models.TextField()
    # Docker's timestamp of the last line inside: where the watcher goes on after a restart.
    until = models.CharField(max_length=40)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["replica_id", "generation", "attempt", "offset"]
        constraints = [
            models.UniqueConstraint(fields=["replica", "generation", "attempt", "offset"], name="log_chunk_once")
        ]
