"""What can be served, and where it comes from."""

import os
from collections.abc import Iterable
from typing import ClassVar

from django.db import models
from django.db.models import Count, Q

from webapp.accounts.models import Team, User
from webapp.accounts.owned import Grant, Owned, OwnedQuerySet
from webapp.control.moves import known_words
from webapp.foundation.encrypted import EncryptedField
from webapp.inventory.models import Host

DEFAULT_ENDPOINT = "https://huggingface.co"


class CatalogModelQuerySet(models.QuerySet["CatalogModel"]):
    def visible_to(self, user: User) -> "CatalogModelQuerySet":
        """Those with an artifact that the person may see."""
        if user.is_superuser:
            return self
        seen = Artifact.objects.visible_to(user).filter(catalog_model=models.OuterRef("pk"))
        return self.filter(models.Exists(seen))

    def for_list(self, user: User) -> "CatalogModelQuerySet":
        """With the numbers of the artifacts that the person may see."""
        seen = None if user.is_superuser else Q(artifacts__in=Artifact.objects.visible_to(user))
        return (
            self.visible_to(user)
            .annotate(
                file_count=Count("artifacts", filter=seen),
                size_bytes=models.Sum("artifacts__size_bytes", filter=seen),
                last_used_at=models.Max("artifacts__last_used_at", filter=seen),
            )
            .order_by("name", "id")
        )


class CatalogModel(models.Model):
    """A member of a model family, whatever files of it there are.

    It has no owner: it is there for whoever may see one of its artifacts. Teams that know nothing of each other may
    each have one of the same name; its page shows together what a person may see of them.
    """

    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=120)
    architecture = models.CharField(max_length=60, blank=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    context_length = models.PositiveIntegerField(null=True, blank=True)
    licence = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = ("name", "slug", "architecture", "licence")
    objects: ClassVar[models.Manager["CatalogModel"]] = CatalogModelQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ArtifactQuerySet(OwnedQuerySet["Artifact"]):
    def deployable(self) -> "ArtifactQuerySet":
        """Artifacts with a complete, verified copy somewhere."""
        ready = ArtifactCopy.objects.filter(artifact=models.OuterRef("pk"), state=CopyState.PRESENT)
        return self.filter(models.Exists(ready), is_leaving=False)

    def for_list(self, user: User) -> "ArtifactQuerySet":
        """Those that the person may see, with the copies on hosts that they may see."""
        hosts = Host.objects.visible_to(user)
        copies = ArtifactCopy.objects.filter(host__in=hosts).select_related("host")
        return (
            self.visible_to(user)
            .select_related("catalog_model", "team")
            .prefetch_related(models.Prefetch("copies", copies))
            .order_by("catalog_model__name", "id")
        )


class Artifact(Owned):
    """One concrete set of weight files. `files`: {name, size_bytes, sha256} each; `facts`: the header."""

    audited_as = "artifact"

    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT, related_name="artifacts")
    catalog_model = models.ForeignKey(CatalogModel, on_delete=models.PROTECT, related_name="artifacts")
    format = models.CharField(max_length=20)
    quantisation = models.CharField(max_length=20, blank=True)
    main_file = models.CharField(max_length=300)
    files = models.JSONField(default=list)
    facts = models.JSONField(default=dict)
    size_bytes = models.BigIntegerField(default=0)
    source = models.JSONField(default=dict)
    # What the source is called, with its commit: files of the same name from two places are two artifacts.
    origin = models.CharField(max_length=500, blank=True, default="")
    # What it was made from and how, when it was made here: {recipe, calibration, measure, tools, parent} in words that
    # stay when the parent goes.
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="made")
    recipe = models.JSONField(default=dict, blank=True)
    made_by = models.ForeignKey("jobs.Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Somebody asked for it to go; the row follows when its last copy has gone.
    is_leaving = models.BooleanField(default=False)
    # Its last request, or when a replica with it last became ready or ceased to be; exact to a minute.
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = ("catalog_model__name", "quantisation", "format", "main_file")
    objects: ClassVar[models.Manager["Artifact"]] = ArtifactQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "catalog_model", "format", "quantisation", "main_file", "origin"],
                name="artifact_once_per_team_and_origin",
                violation_error_message="The team has this file of this model already.",
            ),
            # An empty team is no team: SQLite and PostgreSQL take two of them for different.
            models.UniqueConstraint(
                fields=["catalog_model", "format", "quantisation", "main_file", "origin"],
                condition=Q(team=None),
                name="artifact_once_per_origin",
                violation_error_message="This file of this model is in the catalogue already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.catalog_model} {self.quantisation}".strip()


class ArtifactGrant(Grant):
    """Another team may deploy the artifact, quantise it and bring it to hosts."""

    item = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="grants")


class CopyState(models.TextChoices):
    FETCHING = "fetching"
    PRESENT = "present"
    FAILED = "failed"
    DELETING = "deleting"


COPY_MOVES: dict[CopyState, frozenset[CopyState]] = {
    CopyState.FETCHING: frozenset({CopyState.PRESENT, CopyState.FAILED}),
    CopyState.PRESENT: frozenset({CopyState.DELETING}),
    # Files may be there in part: they are fetched once more, found complete, or taken away.
    CopyState.FAILED: frozenset({CopyState.FETCHING, CopyState.PRESENT, CopyState.DELETING}),
    CopyState.DELETING: frozenset({CopyState.FAILED}),
}


class ArtifactCopyQuerySet(models.QuerySet["ArtifactCopy"]):
    def visible_to(self, user: User) -> "ArtifactCopyQuerySet":
        """Those of artifacts and on hosts that the person sees."""
        if user.is_superuser:
            return self
        return self.filter(artifact__in=Artifact.objects.visible_to(user), host__in=Host.objects.visible_to(user))


class ArtifactCopy(models.Model):
    """The artifact on one host, in that host's models volume under /models/<artifact id>/."""

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="copies")
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="copies")
    state = models.CharField(max_length=10, choices=CopyState.choices, default=CopyState.FETCHING)
    verified_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ArtifactCopy"]] = ArtifactCopyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "artifact copies"
        constraints = [
            models.UniqueConstraint(fields=["artifact", "host"], name="copy_once_per_host"),
            known_words(CopyState, "copy_state_known"),
        ]


class HubQuerySet(models.QuerySet["Hub"]):
    def visible_to(self, user: User) -> "HubQuerySet":
        """Hubs that this person may search and fetch from; administrators see all."""
        if user.is_superuser:
            return self
        return self.filter(Q(teams=None) | Q(teams__members=user), is_enabled=True).distinct()

    def open_to(self, teams: Iterable[Team]) -> "HubQuerySet":
        """Hubs whose token serves one of these teams, whoever asks."""
        return self.filter(Q(teams=None) | Q(teams__in=list(teams))).distinct()


class Hub(models.Model):
    """A place that speaks Hugging Face's interface. An empty endpoint follows HF_ENDPOINT."""

    name = models.CharField(max_length=80, unique=True)
    endpoint = models.CharField(max_length=300, blank=True)
    sealed_token = models.TextField(blank=True)
    # It stands on a private network, or speaks http: an administrator's decision.
    allows_private = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)
    # Empty: every team may use it.
    teams = models.ManyToManyField(Team, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Hub"]] = HubQuerySet.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return (self.endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


HUB_TOKEN = EncryptedField(Hub, "sealed_token", lambda hub: f"hub:{hub.pk}:token")
# The address with its query, which may be a secret.
ARTIFACT_URL = EncryptedField(Artifact, "source", lambda artifact: f"artifact:{artifact.pk}:url", member="sealed_url")


class CodeApproval(models.Model):
    """An administrator has read the Python files of exactly this commit and lets them be fetched and run."""

    # A number that stays when the hub goes: what was fetched from it stays, too, and is launched again.
    hub = models.ForeignKey(Hub, on_delete=models.DO_NOTHING, db_constraint=False, related_name="code_approvals")
    repo = models.CharField(max_length=200)
    commit = models.CharField(max_length=64)
    approved_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["hub", "repo", "commit"], name="code_approval_once")]


class AllowedImage(models.Model):
    """A repository whose container images may run besides the engines' own; with a digest, that image of it alone."""

    # With its registry in front, also where Docker would add it: docker.io/library/debian.
    repository = models.CharField(max_length=200)
    digest = models.CharField(max_length=80, blank=True)
    added_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = ("repository", "digest")

    class Meta:
        ordering = ["repository", "digest"]
        constraints = [models.UniqueConstraint(fields=["repository", "digest"], name="allowed_image_once")]

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else self.repository
