"""Rows of long work."""

from typing import Any, ClassVar

from django.db import models

from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact
from webapp.control.lease import Leased, is_due
from webapp.control.moves import known_words
from webapp.inventory.models import Host
from webapp.jobs.states import JobState


class JobKind(models.TextChoices):
    FETCH = "fetch"
    DELETE_COPY = "delete_copy", "delete"
    QUANTISE = "quantise"


_TITLES: dict[str, str] = {JobKind.FETCH: "Download", JobKind.DELETE_COPY: "Delete files", JobKind.QUANTISE: "Quantise"}


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, user: User) -> "JobQuerySet":
        return self if user.is_superuser else self.filter(team__members=user)

    def due(self) -> "JobQuerySet":
        return self.filter(is_due())

    def for_list(self) -> "JobQuerySet":
        return self.select_related("team", "requested_by", "host", "artifact__catalog_model").order_by("-id")


class Job(Leased):
    """One piece of long work in a labelled container on a host."""

    kind = models.CharField(max_length=20, choices=JobKind.choices)
    team = models.ForeignKey(Team, null=True, on_delete=models.CASCADE, related_name="jobs")
    requested_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="jobs")
    artifact = models.ForeignKey(Artifact, null=True, on_delete=models.SET_NULL, related_name="jobs")
    # What it is about, in words that stay when the artifact goes.
    subject = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in JobState], default=JobState.QUEUED)
    is_cancel_wanted = models.BooleanField(default=False)
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    # Somebody asked for its record to go; the row follows when what it left on its host has gone.
    is_leaving = models.BooleanField(default=False)
    params = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    # Which of its kind's steps it is at; finished ones are not repeated.
    phase = models.PositiveSmallIntegerField(default=0)
    step = models.CharField(max_length=40, blank=True)
    message = models.CharField(max_length=300, blank=True)
    done = models.BigIntegerField(null=True, blank=True)
    total = models.BigIntegerField(null=True, blank=True)
    unit = models.CharField(max_length=20, blank=True)
    # Units per second over the last seconds, as the container measured it.
    speed = models.FloatField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    advice = models.CharField(max_length=500, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    # How far the best attempt came, and how many in a row came no further.
    reached = models.BigIntegerField(default=0)
    stalls = models.PositiveSmallIntegerField(default=0)
    container_id = models.CharField(max_length=64, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    search_columns: ClassVar[tuple[str, ...]] = (
        "pk", "kind", "state", "subject", "artifact__catalog_model__name", "host__name", "requested_by__username",
    )  # fmt: skip
    objects: ClassVar[models.Manager["Job"]] = JobQuerySet.as_manager()

    class Meta:
        constraints = [known_words(JobState, "job_state_known")]

    def __str__(self) -> str:
        return f"{self.kind} job {self.pk}"

    @property
    def title(self) -> str:
        """What people call this kind of work; files of the server's own folders are imported, others downloaded."""
        source = self.artifact.source.get("kind") if self.artifact else None
        return "Import" if self.kind == JobKind.FETCH and source == "path" else _TITLES[self.kind]

    @property
    def container_name(self) -> str:
        step = f"-s{self.phase}" if self.phase else ""
        return f"modelyard-job-{self.pk}-a{self.attempt}{step}"

    @property
    def about(self) -> str:
        """The artifact it is about, or was."""
        return str(self.artifact) if self.artifact else self.subject

    @property
    def reservation_owner(self) -> str:
        """Its name in the memory ledger."""
        return f"job:{self.pk}"

    @property
    def plan(self) -> list[dict[str, Any]]:
        """Its steps as {name, state, seconds, why}; empty for work of one step. `seconds` is the program's own time,
        `why` the reason of a step that the job could do without."""
        rows = []
        for number, name in enumerate(self.params.get("steps") or ()):
            state = "done" if number < self.phase or self.state == JobState.SUCCEEDED else "waiting"
            if number == self.phase and self.state in (JobState.RUNNING, JobState.FAILED, JobState.CANCELLED):
                state = str(self.state)
            said = self.result.get(name)
            found = said if isinstance(said, dict) and state == "done" else {}
            why = str(found.get("missing", ""))
            state = "skipped" if why else state
            rows.append({"name": name, "state": state, "seconds": found.get("seconds"), "why": why})
        return rows

    @property
    def left_s(self) -> float | None:
        """How long it will still take at the speed of now; None while nobody can know."""
        if self.state != JobState.RUNNING or not self.speed or self.done is None or not self.total:
            return None
        return max(self.total - self.done, 0) / self.speed


class JobEvent(models.Model):
    """The events of a job: appended, never changed."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    old_state = models.CharField(max_length=10)
    new_state = models.CharField(max_length=10)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["id"]


class JobLogChunk(models.Model):
    """A piece of what a step's container printed, as the watcher read it. `offset` counts the characters before it."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_chunks")
    attempt = models.PositiveIntegerField()
    # Which of its kind's steps, counted from 1.
    step = models.PositiveSmallIntegerField()
    offset = models.BigIntegerField()
    text = models.TextField()
    # Docker's timestamp of the last line inside: where the watcher goes on after a restart.
    until = models.CharField(max_length=40)

    class Meta:
        ordering = ["job_id", "attempt", "step", "offset"]
        constraints = [models.UniqueConstraint(fields=["job", "attempt", "step", "offset"], name="job_log_chunk_once")]
