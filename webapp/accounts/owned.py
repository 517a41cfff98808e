"""Rows that a team owns and may share: with teams it names, or with everybody."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self, TypeVar

from django.db import models
from django.db.models import Q

from webapp.accounts.models import Team, User

Row = TypeVar("Row", bound=models.Model)


class OwnedQuerySet(models.QuerySet[Row]):
    def visible_to(self, user: User) -> Self:
        """Those that a team of this person owns or was granted, and those that are shared with everybody."""
        return self if user.is_superuser else self._open_to(user.memberships.values("team_id"))

    def open_to(self, teams: Iterable[Team]) -> Self:
        """Those that one of these teams owns or was granted, and those shared with everybody; whoever asks."""
        return self._open_to([team.pk for team in teams])

    def belonging_to(self, user: User) -> Self:
        """Those that a team of this person owns; the installation's own are its admins'."""
        return self if user.is_superuser else self.filter(team_id__in=user.memberships.values("team_id"))

    def _open_to(self, teams: Any) -> Self:
        grants = self.model._meta.get_field("grants").related_model
        granted = grants._base_manager.filter(team_id__in=teams).values("item_id")  # type: ignore[union-attr]
        return self.filter(Q(team=None) | Q(is_shared=True) | Q(team_id__in=teams) | Q(pk__in=granted))


class Owned(models.Model):
    """Without a team it is the installation's own: everybody may use it, its admins change it.

    A concrete class adds `team` and a table of grants (`Grant`) that refers to it as `item`, related as `grants`.
    """

    # The team's, and open to every team.
    is_shared = models.BooleanField(default=False)

    # What the audit log's verbs begin with: `artifact.grant`.
    audited_as: ClassVar[str]

    class Meta:
        abstract = True


class Grant(models.Model):
    """Another team may use the item; neither change it, delete it nor share it further."""

    # Without a way back from the team: it ends with it, and keeps nobody from deleting that.
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    actor = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        ordering = ["team__name"]
        constraints = [
            models.UniqueConstraint(
                fields=["item", "team"],
                name="%(class)s_once",
                violation_error_message="The team may use it already.",
            )
        ]
