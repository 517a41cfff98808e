"""Texts to calibrate and judge with, and what was measured."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from webapp.accounts.models import Team, User
from webapp.accounts.owned import Grant, Owned, OwnedQuerySet
from webapp.catalog.models import Artifact
from webapp.inventory.models import Host
from webapp.jobs.models import Job


class CalibrationSetQuerySet(OwnedQuerySet["CalibrationSet"]):
    def for_list(self) -> "CalibrationSetQuerySet":
        return self.select_related("team").defer("text").order_by("team__name", "name", "id")


class CalibrationSet(Owned):
    """A text to calibrate on or to judge with."""

    audited_as = "calibration"

    name = models.CharField(max_length=80)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="calibration_sets")
    licence = models.CharField(max_length=80, blank=True)
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["CalibrationSet"]] = CalibrationSetQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="calibration_set_once_per_team",
                violation_error_message="The team has a text of this name.",
            ),
            # An empty team is no team: SQLite and PostgreSQL take two of them for different.
            models.UniqueConstraint(
                fields=["name"], condition=Q(team=None), name="calibration_set_once_for_all",
                violation_error_message="There is a text of this name for everybody.",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name

    @property
    def reference(self) -> dict[str, Any]:
        """What a job and a provenance record keep of it."""
        return {"id": self.pk, "name": self.name, "sha256": self.sha256}


class CalibrationSetGrant(Grant):
    item = models.ForeignKey(CalibrationSet, on_delete=models.CASCADE, related_name="grants")


class PromptSetQuerySet(OwnedQuerySet["PromptSet"]):
    def for_list(self) -> "PromptSetQuerySet":
        return self.select_related("team").order_by("team__name", "name", "id")


class PromptSet(Owned):
    """A team's golden prompts: [{prompt, way, expected}] as webapp.quantisation.golden has them. Never changed."""

    audited_as = "prompts"

    name = models.CharField(max_length=80)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="prompt_sets")
    prompts = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = ("name", "team__slug")
    objects: ClassVar[models.Manager["PromptSet"]] = PromptSetQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                name="prompt_set_once_per_team",
                violation_error_message="The team has golden prompts of this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def reference(self) -> dict[str, Any]:
        """What a job and a provenance record keep of it."""
        return {"id": self.pk, "name": self.name, "sha256": self.sha256}


class PromptSetGrant(Grant):
    item = models.ForeignKey(PromptSet, on_delete=models.CASCADE, related_name="grants")


class MeasurementQuerySet(models.QuerySet["Measurement"]):
    def visible_to(self, user: User) -> "MeasurementQuerySet":
        """What goes with an artifact that the person may see, and what their teams measured of it."""
        if user.is_superuser:
            return self
        mine = Q(team=None) | Q(team_id__in=user.memberships.values("team_id"))
        return self.filter(mine, artifact__in=Artifact.objects.visible_to(user))

    def known_to(self, team: Team | None) -> "MeasurementQuerySet":
        """What goes with the artifact, and what this team measured of it."""
        return self.filter(Q(team=None) | Q(team=team))

    def for_list(self, user: User) -> "MeasurementQuerySet":
        """Newest first; a host that the person may not see is nobody's business."""
        hosts = models.Prefetch("host", Host.objects.visible_to(user))
        return self.visible_to(user).prefetch_related(hosts).order_by("-id")


class Measurement(models.Model):
    """What was measured of an artifact, where, with what and on which text. Appended, never changed.

    Of a result `against` is its source. Of a source it is nothing: that row is the base line of its results.

    `values`: size_bytes, bits_per_weight, perplexity, kl_divergence, top1_agreement_percent (each with its _error),
    loss_percent, load_s, peak_memory_bytes, speed [{streams, prompt_per_s, decode_per_s}], prompts_passed,
    prompts_total, prompts_passed_percent, prompts_name; absent when not measured, and then speed_missing says why
    where a job tried.
    """

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="measurements")
    # Whose it is where another team than the artifact's had it measured, which names that team's texts and ends with
    # it; else it goes with the artifact.
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    against = models.ForeignKey(Artifact, null=True, on_delete=models.SET_NULL, related_name="+")
    host = models.ForeignKey(Host, null=True, on_delete=models.SET_NULL, related_name="+")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    values = models.JSONField(default=dict)
    text_name = models.CharField(max_length=80)
    text_sha256 = models.CharField(max_length=64)
    context = models.PositiveIntegerField(default=512)
    chunks = models.PositiveIntegerField(default=0)
    tool = models.CharField(max_length=120, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Measurement"]] = MeasurementQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
