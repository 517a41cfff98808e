"""Schedules, their runs, and who is told about ends."""

from datetime import timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.db import models
from django.db.models import Q
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact, Hub
from webapp.control.lease import Leased
from webapp.control.moves import known_words
from webapp.deployments.models import Deployment
from webapp.foundation.encrypted import EncryptedField
from webapp.inventory.models import Host
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.recipes import Measure, Recipe, of_json
from webapp.schedules.gates import Gate
from webapp.schedules.states import ENDED, NotificationState, RunState
from webapp.schedules.timing import Timing, Trigger


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def visible_to(self, user: User) -> "ScheduleQuerySet":
        return self if user.is_superuser else self.filter(team__members=user)

    def due(self, now: Any) -> "ScheduleQuerySet":
        """Those that fire now. One whose last run has not ended waits for that, and then fires once."""
        return self.filter(is_paused=False, next_due_at__lte=now).exclude(runs__state__in=_RUNNING)

    def for_list(self) -> "ScheduleQuerySet":
        return self.select_related(
            "team",
            "host",
            "artifact__catalog_model",
            "hub",
            "deployment",
            "created_by",
            "calibration",
            "judging",
            "prompts",
        ).order_by("name", "id")


class Schedule(models.Model):
    """Make artifacts out of a source again and again, judge them, and serve what is good enough."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="schedules")
    name = models.CharField(max_length=80)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    # The source: an artifact, or a hub's repository at whatever commit its revision is when the run begins.
    artifact = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.SET_NULL, related_name="schedules")
    # What the artifact was called, for the time after it was deleted.
    source_name = models.CharField(max_length=200, blank=True, default="")
    hub = models.ForeignKey(Hub, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    repo = models.CharField(max_length=200, blank=True)
    revision = models.CharField(max_length=200, blank=True)
    variant = models.CharField(max_length=300, blank=True)
    seen_commit = models.CharField(max_length=64, blank=True)
    # What the last look at the hub said when it could not be asked.
    note = models.CharField(max_length=500, blank=True)
    # In order of preference: the first whose result passes is the one to serve.
    recipes = models.JSONField(default=list)
    measure = models.JSONField(null=True, blank=True)
    calibration = models.ForeignKey(CalibrationSet, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    judging = models.ForeignKey(CalibrationSet, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Asked of every result. Restricted: a schedule whose gate needs them would refuse everything without them.
    prompts = models.ForeignKey(PromptSet, null=True, blank=True, on_delete=models.RESTRICT, related_name="schedules")
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="schedules")
    trigger = models.CharField(max_length=12, choices=[(one.value, one.value) for one in Trigger])
    cron = models.CharField(max_length=120, blank=True)
    interval_minutes = models.PositiveIntegerField(default=0)
    zone = models.CharField(max_length=60, default="UTC")
    window_start = models.TimeField(null=True, blank=True)
    window_end = models.TimeField(null=True, blank=True)
    # Begin only when nothing on the host was asked for so long and no job runs there; None: at once.
    idle_minutes = models.PositiveIntegerField(null=True, blank=True)
    gate = models.JSONField(default=dict, blank=True)
    deployment = models.ForeignKey(
        Deployment, null=True, blank=True, on_delete=models.SET_NULL, related_name="schedules"
    )  # fmt: skip
    # A result is to be served: a deployment that was deleted since is an error, not one request less.
    is_served = models.BooleanField(default=False)
    allow_downtime = models.BooleanField(default=False)
    # Of each recipe, that many results are kept; None: all.
    keep_last = models.PositiveIntegerField(null=True, blank=True)
    is_paused = models.BooleanField(default=False)
    next_due_at = models.DateTimeField(null=True, blank=True, db_index=True)

    search_columns: ClassVar[tuple[str, ...]] = (
        "name", "team__name", "repo", "artifact__catalog_model__name", "host__name", "deployment__name",
    )  # fmt: skip
    objects: ClassVar[models.Manager["Schedule"]] = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="schedule_name_once_per_team",
                violation_error_message="The team has a schedule of this name already.",
            ),
            models.CheckConstraint(
                condition=Q(window_start=None, window_end=None)
                | Q(window_start__isnull=False, window_end__isnull=False),
                name="schedule_window_has_both_ends",
                violation_error_message="A window needs both ends.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def timing(self) -> Timing:
        return Timing(
            Trigger(self.trigger),
            ZoneInfo(self.zone),
            self.cron,
            self.interval_minutes,
            self.window_start,
            self.window_end,
        )

    @property
    def recipe_list(self) -> list[Recipe]:
        return [of_json(recipe) for recipe in self.recipes]

    @property
    def limits(self) -> Gate:
        return Gate.model_validate(self.gate)

    @property
    def measuring(self) -> Measure | None:
        return Measure.model_validate(self.measure) if self.measure else None

    @property
    def source(self) -> str:
        """What it is made from, in words."""
        if self.repo:
            return f"{self.repo}@{self.revision or 'main'}"
        return str(self.artifact) if self.artifact else f"{self.source_name or 'an artifact'} (deleted)"

    @property
    def lacks(self) -> str:
        """What of its source is gone; empty while nothing is."""
        if self.repo:
            return "" if self.hub_id else f"the hub that {self.repo} was fetched from"
        return "" if self.artifact_id else self.source_name or "the artifact that it made its results of"

    @property
    def rhythm(self) -> str:
        """When it fires, in words."""
        if self.trigger == Trigger.CRON:
            return f"{self.cron} ({self.zone})"
        if self.trigger == Trigger.INTERVAL:
            hours, minutes = divmod(self.interval_minutes, 60)
            return "every " + " ".join(
                part for part in (f"{hours} h" * bool(hours), f"{minutes} min" * bool(minutes)) if part
            )
        return "on new upstream commit"

    @property
    def state(self) -> str:
        return "paused" if self.is_paused else "active"

    def upcoming(self, days: int = 7, most: int = 100) -> list[Any]:
        """Its next times in the coming days; none while it is paused."""
        if self.is_paused or self.next_due_at is None:
            return []
        now = timezone.now()
        return self.timing.upcoming(max(self.next_due_at, now), now + timedelta(days=days), most)


class ScheduleRunQuerySet(models.QuerySet["ScheduleRun"]):
    def visible_to(self, user: User) -> "ScheduleRunQuerySet":
        return self if user.is_superuser else self.filter(schedule__team__members=user)

    def for_list(self) -> "ScheduleRunQuerySet":
        return self.select_related("schedule__team", "source").prefetch_related("jobs__host").order_by("-id")


_RUNNING = [RunState.WAITING.value, RunState.RUNNING.value]


class ScheduleRun(Leased):
    """One time that a schedule fired. `due_at` is the time that it fired for.

    `results`: one per recipe, {label, recipe, job, refused, artifact, name, values, checks, is_passed}.
    """

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    due_at = models.DateTimeField()
    asked_by = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in RunState], default=RunState.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    advice = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    source = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    commit = models.CharField(max_length=64, blank=True)
    jobs = models.ManyToManyField("jobs.Job", related_name="schedule_runs", blank=True)
    results = models.JSONField(default=list)
    has_queued = models.BooleanField(default=False)
    # The rollout that serves the result: its number within the deployment.
    rollout = models.PositiveIntegerField(null=True, blank=True)
    served = models.CharField(max_length=200, blank=True)
    cost_seconds = models.FloatField(default=0)
    # In whatever currency the installation counts; None: the host has no price.
    cost = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    is_cancel_wanted = models.BooleanField(default=False)

    objects: ClassVar[models.Manager["ScheduleRun"]] = ScheduleRunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["schedule"],
                condition=Q(state__in=_RUNNING),
                name="schedule_runs_once_at_a_time",
                violation_error_message="It runs already.",
            ),
            known_words(RunState, "schedule_run_state_known"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.schedule}"

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


class TargetKind(models.TextChoices):
    WEBHOOK = "webhook"
    MAIL = "mail"


class TargetQuerySet(models.QuerySet["Target"]):
    def visible_to(self, user: User) -> "TargetQuerySet":
        return self if user.is_superuser else self.filter(team__members=user)


class Target(models.Model):
    """Where a team is told about ends: an address of the web, or of mail."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="notification_targets")
    kind = models.CharField(max_length=10, choices=TargetKind.choices)
    address = models.CharField(max_length=500)
    events = models.JSONField(default=list)
    sealed_secret = models.TextField(blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Target"]] = TargetQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "kind", "address"],
                name="target_once_per_team",
                violation_error_message="The team is told there already.",
            )
        ]

    def __str__(self) -> str:
        return self.address


TARGET_SECRET = EncryptedField(Target, "sealed_secret", lambda target: f"target:{target.pk}:secret")


class Notification(Leased):
    """One message to one target. `key` names what it is about, so that nothing is told twice."""

    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="notifications")
    event = models.CharField(max_length=40)
    key = models.CharField(max_length=120)
    payload = models.JSONField(default=dict)
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in NotificationState], default=NotificationState.PENDING
    )
    attempts = models.PositiveIntegerField(default=0)
    answer = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["target", "key"], name="notification_once_per_target"),
            known_words(NotificationState, "notification_state_known"),
        ]
