"""One row per subject and moment."""

from django.db import models


class Kind(models.TextChoices):
    HOST = "host"
    ACCELERATOR = "accelerator"
    REPLICA = "replica"


class Sample(models.Model):
    """What one host, accelerator or replica used at `at`, or on average over the `resolution_s` that begin there.

    A number instead of a reference: the subject may be gone before its samples, which expire by themselves.
    """

    kind = models.CharField(max_length=12, choices=Kind.choices)
    subject_id = models.BigIntegerField()
    resolution_s = models.PositiveIntegerField()
    at = models.DateTimeField()
    # By the names of measures.MEASURES.
    values = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "subject_id", "resolution_s", "at"], name="sample_once_per_moment")
        ]
        indexes = [models.Index(fields=["resolution_s", "at"], name="sample_by_age")]
