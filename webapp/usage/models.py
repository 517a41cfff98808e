"""One row per request that reached a gateway, and the sums of those rows that pages read."""

from typing import Any, ClassVar

from django.db import models

from webapp.accounts.models import ApiKey, Team, User
from webapp.deployments.models import Deployment
from webapp.usage.latency import CLASSES

# How a request ends that its client got wrong, as the gateway calls it.
CLIENT_ERROR = "client_error"
# A reference whose number outlives the row it names: what a deleted key used stays that key's.
_MENTION: dict[str, Any] = {"null": True, "on_delete": models.DO_NOTHING, "db_constraint": False}


class UsageRecordQuerySet(models.QuerySet["UsageRecord"]):
    def visible_to(self, user: User) -> "UsageRecordQuerySet":
        """Requests of this person's teams. The teams' numbers are read first: with a query in the query's place the
        database would sort all records before it shows the newest."""
        return self if user.is_superuser else self.filter(team_id__in=list(user.teams.values_list("pk", flat=True)))

    def for_list(self) -> "UsageRecordQuerySet":
        """Newest first. What has been deleted comes as None beside its number."""
        return self.select_related("key", "user", "team", "deployment").order_by("-at", "-id")

    def failed(self) -> "UsageRecordQuerySet":
        """What the engine or the gateway did not answer; a client's own mistakes are `mistaken`."""
        return self.filter(has_failed=True).exclude(outcome=CLIENT_ERROR)

    def mistaken(self) -> "UsageRecordQuerySet":
        # Said twice, because what has failed has an index.
        return self.filter(has_failed=True, outcome=CLIENT_ERROR)

    def served(self) -> "UsageRecordQuerySet":
        return self.filter(has_failed=False)


class UsageRecord(models.Model):
    """Who asked what, how it ended and what it cost. Times in milliseconds. The id comes from the gateway, so that
    a record delivered twice is counted once."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    key = models.ForeignKey(ApiKey, related_name="usage", **_MENTION)
    user = models.ForeignKey(User, related_name="+", **_MENTION)
    team = models.ForeignKey(Team, related_name="+", db_index=False, **_MENTION)
    deployment = models.ForeignKey(Deployment, related_name="usage", db_index=False, **_MENTION)
    # The id alone: the replica may be gone long before its records.
    replica_id = models.BigIntegerField(null=True)
    endpoint = models.CharField(max_length=60)
    request_id = models.CharField(max_length=80, blank=True, db_index=True)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=20)
    # It got no answer: a status of 400 or more, or the engine or the gateway broke off.
    has_failed = models.BooleanField(default=False)
    is_stream = models.BooleanField(default=False)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    counted_by = models.CharField(max_length=10, blank=True)
    ttft_ms = models.FloatField(null=True)
    duration_ms = models.FloatField(null=True)
    max_gap_ms = models.FloatField(null=True)
    bytes_out = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager["UsageRecord"]] = UsageRecordQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["deployment", "at"]),
            models.Index(fields=["team", "at"]),
            # Failures are few and looked for: without these, to find none would mean to look at every record.
            models.Index(fields=["at"], condition=models.Q(has_failed=True), name="usage_record_failed"),
            models.Index(
                fields=["team", "at"], condition=models.Q(has_failed=True), name="usage_record_failed_of_team"
            ),
        ]

    @property
    def was_failed(self) -> bool:
        """Whether the deployment or the gateway is to blame: a client's own mistake is in no rate of a deployment's."""
        return self.has_failed and self.outcome != CLIENT_ERROR


class Period(models.TextChoices):
    """How much time one sum covers, in UTC. Minutes and totals are kept per deployment alone."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    TOTAL = "total"


class RollupQuerySet(models.QuerySet["Rollup"]):
    def visible_to(self, user: User) -> "RollupQuerySet":
        """Sums of this person's teams: hours and days."""
        return self if user.is_superuser else self.filter(team_id__in=user.teams.values("pk"))


class Rollup(models.Model):
    """Sums of usage records over one period. Written by `rollups.add` alone, in the records' own transaction.

    Numbers instead of references: they stay when what they name is deleted; 0 is nobody (the playground has no key).
    """

    period = models.CharField(max_length=6, choices=Period.choices)
    at = models.DateTimeField()
    deployment_id = models.BigIntegerField(default=0)
    team_id = models.BigIntegerField(default=0)
    user_id = models.BigIntegerField(default=0)
    key_id = models.BigIntegerField(default=0)
    endpoint = models.CharField(max_length=60, blank=True)
    requests = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(default=0)
    # How many times to first token fell into each class of latency.BOUNDS_MS.
    ttft_0 = models.BigIntegerField(default=0)
    ttft_1 = models.BigIntegerField(default=0)
    ttft_2 = models.BigIntegerField(default=0)
    ttft_3 = models.BigIntegerField(default=0)
    ttft_4 = models.BigIntegerField(default=0)
    ttft_5 = models.BigIntegerField(default=0)
    ttft_6 = models.BigIntegerField(default=0)
    ttft_7 = models.BigIntegerField(default=0)
    ttft_8 = models.BigIntegerField(default=0)
    ttft_9 = models.BigIntegerField(default=0)
    ttft_10 = models.BigIntegerField(default=0)
    ttft_11 = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager["Rollup"]] = RollupQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["period", "at", "deployment_id", "team_id", "user_id", "key_id", "endpoint"],
                name="usage_rollup_once",
            )
        ]
        indexes = [models.Index(fields=["period", "deployment_id", "at"], name="usage_rollup_of_deployment")]


TTFT_COLUMNS = tuple(f"ttft_{number}" for number in range(CLASSES))
GROUP_COLUMNS = ("period", "at", "deployment_id", "team_id", "user_id", "key_id", "endpoint")
SUM_COLUMNS = (
    "requests",
    "failed",
    "prompt_tokens",
    "completion_tokens",
    "bytes_out",
    "duration_ms",
    *TTFT_COLUMNS,
)


class RefusalCountQuerySet(models.QuerySet["RefusalCount"]):
    def visible_to(self, user: User) -> "RefusalCountQuerySet":
        """Refusals of keys of this person's teams; those of nobody's keys are for admins."""
        return self if user.is_superuser else self.filter(team_id__in=user.teams.values("pk"))


class RefusalCount(models.Model):
    """How many requests of one key were refused for one reason in one minute, before a deployment was known. The id
    comes from the gateway, which tells a count again when it has grown."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    last_at = models.DateTimeField()
    key = models.ForeignKey(ApiKey, related_name="+", **_MENTION)
    user = models.ForeignKey(User, related_name="+", **_MENTION)
    team = models.ForeignKey(Team, related_name="+", db_index=False, **_MENTION)
    endpoint = models.CharField(max_length=60, blank=True)
    status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=60)
    # The latest one's.
    message = models.CharField(max_length=300, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    count = models.PositiveIntegerField()

    objects: ClassVar[models.Manager["RefusalCount"]] = RefusalCountQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["team", "at"], name="usage_refusals_of_team")]
