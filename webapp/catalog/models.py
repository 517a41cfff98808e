"""What can be served."""

from typing import ClassVar

from django.db import models

from webapp.inventory.models import Host


class CatalogModel(models.Model):
    """A member of a model family, whatever files of it there are."""

    name = models.CharField(max_length=120, unique=True)
    slug = models.SlugField(max_length=120, unique=True)
    architecture = models.CharField(max_length=60, blank=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    context_length = models.PositiveIntegerField(null=True, blank=True)
    licence = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def deployable(self) -> "ArtifactQuerySet":
        """Artifacts with a complete, verified copy somewhere."""
        return self.filter(copies__state=CopyState.PRESENT).distinct()

    def for_list(self) -> "ArtifactQuerySet":
        return (
            self.select_related("catalog_model").prefetch_related("copies__host").order_by("catalog_model__name", "id")
        )


class Artifact(models.Model):
    """One concrete set of weight files. `files`: {name, size_bytes, sha256} each; `facts`: the header."""

    catalog_model = models.ForeignKey(CatalogModel, on_delete=models.PROTECT, related_name="artifacts")
    format = models.CharField(max_length=20)
    quantisation = models.CharField(max_length=20, blank=True)
    main_file = models.CharField(max_length=300)
    files = models.JSONField(default=list)
    facts = models.JSONField(default=dict)
    size_bytes = models.BigIntegerField(default=0)
    source = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Artifact"]] = ArtifactQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["catalog_model", "format", "quantisation", "main_file"],
                name="artifact_once",
                violation_error_message="This file of this model is in the catalogue already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.catalog_model} {self.quantisation}".strip()


class CopyState(models.TextChoices):
    FETCHING = "fetching"
    PRESENT = "present"
    FAILED = "failed"


class ArtifactCopy(models.Model):
    """The artifact on one host, in that host's models volume under /models/<artifact id>/."""

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="copies")
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="copies")
    state = models.CharField(max_length=10, choices=CopyState.choices, default=CopyState.FETCHING)
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "artifact copies"
        constraints = [models.UniqueConstraint(fields=["artifact", "host"], name="copy_once_per_host")]
