"""One row per request that reached a gateway."""

from django.db import models

from webapp.accounts.models import ApiKey, Team, User
from webapp.deployments.models import Deployment


class UsageRecord(models.Model):
    """Who asked what, how it ended and what it cost. Times in milliseconds. The id comes from the gateway, so that
    a record delivered twice is counted once."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL, related_name="usage")
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    team = models.ForeignKey(Team, null=True, on_delete=models.SET_NULL, related_name="+")
    deployment = models.ForeignKey(Deployment, null=True, on_delete=models.SET_NULL, related_name="usage")
    # A number only: the replica may be gone long before its records.
    replica_number = models.BigIntegerField(null=True)
    endpoint = models.CharField(max_length=60)
    request_id = models.CharField(max_length=80, blank=True)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=20)
    is_stream = models.BooleanField(default=False)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    counted_by = models.CharField(max_length=10, blank=True)
    ttft_ms = models.FloatField(null=True)
    duration_ms = models.FloatField(null=True)
    max_gap_ms = models.FloatField(null=True)
    bytes_out = models.BigIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["deployment", "at"]), models.Index(fields=["team", "at"])]
