"""Deployments, replicas, their diary and their logs."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact
from webapp.deployments.states import Desired, ReplicaState, summary
from webapp.inventory.models import Host

NAME = RegexValidator(
    r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
    "Use 1 to 63 lower-case letters, digits, dots, dashes or underscores; begin and end with a letter or digit.",
)


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def visible_to(self, user: User) -> "DeploymentQuerySet":
        return self if user.is_superuser else self.filter(team__members=user)

    def for_list(self) -> "DeploymentQuerySet":
        return (
            self.select_related("team", "artifact__catalog_model")
            .prefetch_related("replicas__host")
            .order_by("name", "id")
        )


class Deployment(models.Model):
    """A model served under a name. `desired_state` is what people asked for; what is, is in the replicas."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="deployments")
    name = models.CharField(max_length=63, validators=[NAME])
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="deployments")
    engine = models.CharField(max_length=20)
    options = models.JSONField(default=dict)
    desired_state = models.CharField(
        max_length=8, choices=[(d.value, d.value) for d in Desired], default=Desired.RUNNING
    )
    desired_replicas = models.PositiveSmallIntegerField(default=1)
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    image = models.CharField(max_length=200, blank=True)
    generation = models.PositiveIntegerField(default=1)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Deployment"]] = DeploymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="deployment_name_once_per_team",
                violation_error_message="The team has a deployment of this name already.",
            ),
            models.CheckConstraint(
                condition=Q(desired_replicas__gte=1) & Q(desired_replicas__lte=64), name="deployment_replicas_in_range"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def endpoint(self) -> str:
        """The base URL for OpenAI clients that serves this deployment alone."""
        return f"{settings.MODELYARD_URL}/d/{self.team.slug}/{self.name}/v1"

    @property
    def state(self) -> str:
        """One word that sums up the replicas; see states.summary."""
        return summary(
            Desired(self.desired_state),
            [(ReplicaState(r.state), r.next_due_at is not None) for r in self.replicas.all()],
        )


class ReplicaQuerySet(models.QuerySet["Replica"]):
    def due(self) -> "ReplicaQuerySet":
        return self.filter(next_due_at__lte=Now())

    def visible_to(self, user: User) -> "ReplicaQuerySet":
        return self if user.is_superuser else self.filter(deployment__team__members=user)

    def on_host(self, host_id: int) -> "ReplicaQuerySet":
        return self.filter(host_id=host_id)


class Replica(models.Model):
    """One engine container that ought to exist. `state` is written by services.move alone."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="replicas")
    number = models.PositiveSmallIntegerField()
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in ReplicaState], default=ReplicaState.PENDING
    )
    reason_code = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    advice = models.CharField(max_length=500, blank=True)
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.PROTECT, related_name="replicas")
    address = models.CharField(max_length=100, blank=True)
    port = models.PositiveIntegerField(default=0)
    image = models.CharField(max_length=200, blank=True)
    upstream_model = models.CharField(max_length=120, blank=True)
    generation = models.PositiveIntegerField(default=1)
    attempt = models.PositiveIntegerField(default=1)
    container_id = models.CharField(max_length=64, blank=True)
    # Memory terms as they were estimated at placement: a list of {name, label, bytes, basis}.
    estimate = models.JSONField(default=list)
    # What placement gave it: {vendor, device_ids, memory_bytes, cpu_count}.
    grant = models.JSONField(default=dict)
    # What the engine reported in its log: {"device kind": bytes}.
    observed = models.JSONField(default=dict)
    progress = models.FloatField(null=True, blank=True)
    progress_text = models.CharField(max_length=200, blank=True)
    progress_at = models.DateTimeField(null=True, blank=True)
    crash_count = models.PositiveIntegerField(default=0)
    # The reconcile loop's own columns: who holds the row until when, and when somebody must look again.
    epoch = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    # Counts those who found the row held: the holder looks once more before it lets go.
    wakes = models.PositiveIntegerField(default=0)
    next_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    state_at = models.DateTimeField(auto_now_add=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    kill_after = models.DateTimeField(null=True, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    proven_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Replica"]] = ReplicaQuerySet.as_manager()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["deployment", "number"], name="replica_number_once")]

    def __str__(self) -> str:
        return f"replica {self.number}"

    @property
    def holder(self) -> str:
        """The name under which this replica books memory and addresses."""
        return f"replica:{self.pk}"

    @property
    def container_name(self) -> str:
        return f"modelyard-{self.pk}-g{self.generation}-a{self.attempt}"

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}" if self.address else ""


class ReplicaEvent(models.Model):
    """The diary: one row per move, in the move's own transaction. Appended, never changed."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="diary")
    replica_number = models.PositiveSmallIntegerField(null=True)
    at = models.DateTimeField(auto_now_add=True)
    old_state = models.CharField(max_length=10, blank=True)
    new_state = models.CharField(max_length=10, blank=True)
    reason_code = models.CharField(max_length=40, blank=True)
    text = models.CharField(max_length=500, blank=True)
    actor = models.CharField(max_length=150, blank=True)

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
