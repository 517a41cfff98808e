"""Deployments, what they ran and run, under which names and for whom, and their replicas."""

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Case, Exists, OuterRef, Prefetch, Q, Value, When

from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact
from webapp.control.lease import Leased, is_due
from webapp.control.moves import known_words
from webapp.deployments.containers import container_name
from webapp.deployments.spec import SpecColumns
from webapp.deployments.states import Desired, ReplicaState, RolloutState, summary
from webapp.foundation import paths
from webapp.foundation.reach import Address, Reach, at_socket
from webapp.inventory.models import Host

NAME = RegexValidator(
    r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
    "Use 1 to 63 lower-case letters, digits, dots, dashes or underscores; begin and end with a letter or digit.",
)

# What programs with a fixed model name send: names of hubs with their owner, of Ollama with a tag, of clouds with a
# version. No empty part, no "." and no ".." between slashes: clients take such paths apart themselves.
ALIAS = RegexValidator(
    r"^(?!.*(?:^|/)\.{0,2}(?:/|\Z))[A-Za-z0-9@][A-Za-z0-9@._:/+~-]{0,198}(?<![./:])\Z",
    "Use 1 to 199 letters, digits and . _ - : / @ + ~; begin with a letter, a digit or @, end with none of . : /",
)

MAX_ALIAS_CHARS = 199
MAX_REPLICAS = 64


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def visible_to(self, user: User) -> "DeploymentQuerySet":
        """Those of the person's teams, and those granted to them; `is_own` tells which."""
        if user.is_superuser:
            return self.annotate(is_own=Value(True))
        teams = user.memberships.values("team_id")
        granted = DeploymentGrant.objects.filter(team_id__in=teams).values("deployment_id")
        own = Q(team_id__in=teams)
        return self.filter(own | Q(pk__in=granted)).annotate(is_own=Case(When(own, then=True), default=False))

    def belonging_to(self, user: User) -> "DeploymentQuerySet":
        """Those whose logs, settings and history the person sees: the ones of their own teams."""
        return self if user.is_superuser else self.filter(team_id__in=user.memberships.values("team_id"))

    def for_list(self) -> "DeploymentQuerySet":
        replicas = Replica.objects.present().select_related("host", "revision")
        return (
            self.select_related("team", "artifact__catalog_model", "revision", "host")
            .prefetch_related(Prefetch("replicas", queryset=replicas), "alias_set")
            .order_by("name", "id")
        )

    def ready_first(self) -> "DeploymentQuerySet":
        """Those with a replica that answers before the others, then by name."""
        return self.annotate(is_ready=has_ready_replica()).order_by("-is_ready", "name", "pk")

    def rolling(self) -> "DeploymentQuerySet":
        """Those whose rollout has something to do or to wait for."""
        return self.filter(next_due_at__isnull=False)


def has_ready_replica() -> Exists:
    """For queries over deployments: whether one of its replicas answers now."""
    return Exists(Replica.objects.present().filter(deployment=OuterRef("pk"), state=ReplicaState.READY))


class Deployment(Leased, SpecColumns):
    """A model served under a name. `desired_state` is what people asked for; what is, is in the replicas.

    What is wanted to run stands here, as in `revision`; what a replica really runs stands in the replica's revision.
    The control loop holds it while it looks after its rollout; without a due date there is nothing to do.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="deployments")
    name = models.CharField(max_length=63, validators=[NAME])
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="deployments")
    desired_state = models.CharField(
        max_length=8, choices=[(d.value, d.value) for d in Desired], default=Desired.RUNNING
    )
    desired_replicas = models.PositiveSmallIntegerField(default=1)
    # Of an answer: how many tokens where a request does not say, and how many at most; 0: the engine's own.
    max_tokens_default = models.PositiveIntegerField(default=0)
    max_tokens_limit = models.PositiveIntegerField(default=0)
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    revision = models.ForeignKey("Revision", null=True, on_delete=models.SET_NULL, related_name="+")
    # The rollout whose replicas are wanted; the numbers that were given last are never given again.
    generation = models.PositiveIntegerField(default=1)
    last_generation = models.PositiveIntegerField(default=1)
    last_replica = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = (
        "name", "team__name", "team__slug", "artifact__catalog_model__name", "engine",
    )  # fmt: skip
    objects: ClassVar[models.Manager["Deployment"]] = DeploymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="deployment_name_once_per_team",
                violation_error_message="The team has a deployment of this name already.",
            ),
            models.CheckConstraint(
                condition=Q(desired_replicas__gte=0) & Q(desired_replicas__lte=MAX_REPLICAS),
                name="deployment_replicas_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def endpoint(self) -> str:
        """The base URL for OpenAI clients that serves this deployment alone."""
        return f"{settings.MODELYARD_URL}{self.path}"

    @property
    def path(self) -> str:
        """Where on this Modelyard that is."""
        return f"/d/{self.team.slug}/{self.name}/v1"

    @property
    def state(self) -> str:
        """One word that sums up the replicas; see states.summary."""
        desired = Desired(self.desired_state)
        counted = [
            (ReplicaState(r.state), r.next_due_at is not None)
            for r in self.replicas.all()
            if r.retired_at is None or (desired != Desired.RUNNING and r.state != ReplicaState.STOPPED)
        ]
        return summary(desired, counted, self.desired_replicas)

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the engine of its newest replica said that it can do; empty while none has."""
        told = [r for r in self.replicas.all() if r.capabilities]
        # One that is ready knows better than one that was.
        return max(told, key=lambda r: (r.state == ReplicaState.READY, r.generation)).capabilities if told else {}

    @property
    def aliases(self) -> list[str]:
        """Other names that clients may send as `model`."""
        return sorted(alias.name for alias in self.alias_set.all())


class Revision(SpecColumns):
    """What a deployment runs, or ran. Written once, never changed."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    # Files may be deleted later; the name stays.
    artifact = models.ForeignKey(Artifact, null=True, on_delete=models.SET_NULL, related_name="+")
    artifact_name = models.CharField(max_length=200, blank=True)
    host = models.ForeignKey(Host, null=True, on_delete=models.SET_NULL, related_name="+")
    host_name = models.CharField(max_length=100, blank=True)
    note = models.CharField(max_length=200, blank=True)
    actor = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["deployment", "number"], name="revision_number_once")]

    def __str__(self) -> str:
        return f"revision {self.number}"


class Rollout(models.Model):
    """One change of what runs, from the request to the last new replica."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="rollouts")
    number = models.PositiveIntegerField()
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="rollouts")
    kind = models.CharField(max_length=10)
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in RolloutState], default=RolloutState.RUNNING
    )
    reason = models.CharField(max_length=500, blank=True)
    allow_downtime = models.BooleanField(default=False)
    actor = models.CharField(max_length=150, blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["deployment", "number"], name="rollout_number_once"),
            known_words(RolloutState, "rollout_state_known"),
            models.UniqueConstraint(
                fields=["deployment"], condition=Q(state=RolloutState.RUNNING), name="rollout_running_once"
            ),
        ]


class DeploymentAlias(models.Model):
    """Another name under which a deployment answers, for clients whose model name cannot be changed."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="alias_set")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=MAX_ALIAS_CHARS, validators=[ALIAS])

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="deployment_alias_once_per_team",
                violation_error_message="The team uses this name already.",
            )
        ]


class DeploymentGrant(models.Model):
    """Another team may use the deployment: ask it, see its state; neither change it nor read its logs."""

    # It ends with the team it was given to, and keeps nobody from deleting that.
    ends_with_team: ClassVar[bool] = True

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="grants")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="granted_deployments")
    actor = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["team__name"]
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "team"],
                name="deployment_granted_once",
                violation_error_message="The team may use it already.",
            )
        ]


class ReplicaQuerySet(models.QuerySet["Replica"]):
    def due(self) -> "ReplicaQuerySet":
        return self.filter(is_due())

    def visible_to(self, user: User) -> "ReplicaQuerySet":
        return self if user.is_superuser else self.filter(deployment__team__members=user)

    def present(self) -> "ReplicaQuerySet":
        """All but those that were replaced and have ended; of those, only logs and events are of interest."""
        return self.exclude(retired_at__isnull=False, state=ReplicaState.STOPPED)

    def on_host(self, host_id: int) -> "ReplicaQuerySet":
        return self.filter(host_id=host_id)


class Replica(Leased):
    """One engine container that ought to exist."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="replicas")
    number = models.PositiveIntegerField()
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in ReplicaState], default=ReplicaState.PENDING
    )
    reason_code = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    advice = models.CharField(max_length=500, blank=True)
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.PROTECT, related_name="replicas")
    # Where its engine answers: the path of a socket on our machine, or an address on its host's engine network.
    address = models.CharField(max_length=120, blank=True)
    port = models.PositiveIntegerField(default=0)
    image = models.CharField(max_length=200, blank=True)
    upstream_model = models.CharField(max_length=120, blank=True)
    # The rollout it belongs to, for life, and what it runs; without a revision what its deployment says.
    generation = models.PositiveIntegerField(default=1)
    revision = models.ForeignKey(Revision, null=True, on_delete=models.SET_NULL, related_name="replicas")
    retired_at = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    container_id = models.CharField(max_length=64, blank=True)
    # The name that the container has on its host, however it came to it; empty without one.
    container = models.CharField(max_length=200, blank=True)
    # Memory terms as they were estimated at placement: a list of {name, label, bytes, basis}.
    estimate = models.JSONField(default=list)
    # What placement gave it: {vendor, device_ids, memory_bytes, cpu_count}.
    grant = models.JSONField(default=dict)
    # What the engine reported in its log: {"device kind": bytes}.
    observed = models.JSONField(default=dict)
    # What the engine said that it can do when it became ready; see engines.base.Capabilities.
    capabilities = models.JSONField(default=dict, blank=True)
    progress = models.FloatField(null=True, blank=True)
    progress_text = models.CharField(max_length=200, blank=True)
    progress_at = models.DateTimeField(null=True, blank=True)
    # How often in a row its engine ended by itself, and how often nothing could be started at all.
    crash_count = models.PositiveIntegerField(default=0)
    failed_starts = models.PositiveIntegerField(default=0)
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
        constraints = [
            models.UniqueConstraint(fields=["deployment", "number"], name="replica_number_once"),
            known_words(ReplicaState, "replica_state_known"),
        ]

    def __str__(self) -> str:
        return f"replica {self.number}"

    @property
    def contents(self) -> "Deployment | Revision":
        """What it runs: artifact, engine, image, options and pinned host."""
        revision = self.revision
        return self.deployment if revision is None or revision.artifact_id is None else revision

    @property
    def desired(self) -> Desired:
        """What is wanted of this one replica."""
        desired = Desired(self.deployment.desired_state)
        return Desired.STOPPED if desired == Desired.RUNNING and self.retired_at is not None else desired

    @property
    def reservation_owner(self) -> str:
        """The name under which this replica reserves memory and addresses."""
        return f"replica:{self.pk}"

    @property
    def container_name(self) -> str:
        """The name that the container of this attempt has, or gets."""
        if self.container:
            return self.container
        deployment = self.deployment
        return container_name(deployment.team.slug, deployment.name, self.number, self.generation, self.attempt)

    @property
    def own_socket(self) -> str:
        """The path of the socket that this attempt answers on where engines have no network."""
        return str(paths.engine_socket(self.pk, self.generation, self.attempt))

    @property
    def socket(self) -> str:
        """The socket's path when this attempt has one; empty when it has an address."""
        return self.address if self.address.startswith("/") else ""

    @property
    def reach(self) -> Reach | None:
        """How its engine is spoken to; None as long as it has no address."""
        if not self.address:
            return None
        where = at_socket(self.socket) if self.socket else Address(self.address, self.port)
        return Reach(self.host_id or 0, where)
