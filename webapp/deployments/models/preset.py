"""Options that a team keeps under a name."""

from typing import ClassVar

from django.db import models

from webapp.accounts.models import Team, User


class OptionPresetQuerySet(models.QuerySet["OptionPreset"]):
    def visible_to(self, user: User) -> "OptionPresetQuerySet":
        return self if user.is_superuser else self.filter(team__members=user)


class OptionPreset(models.Model):
    """A team's own named set of options for an engine."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="option_presets")
    engine = models.CharField(max_length=20)
    name = models.CharField(max_length=60)
    options = models.JSONField(default=dict)
    actor = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["OptionPreset"]] = OptionPresetQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "engine", "name"],
                name="preset_name_once_per_team",
                violation_error_message="The team has a preset of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name
