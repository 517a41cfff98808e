"""What tells artifacts of one name apart: format, file, size, where it came from, and when."""

from collections.abc import Sequence

from django.db.models import Count
from django.utils import timezone

from webapp.catalog.models import Artifact, ArtifactQuerySet

MIB, GIB = 2**20, 2**30


def labels(rows: Sequence[Artifact], among: ArtifactQuerySet) -> list[str]:
    """A label for each row, with what tells it apart where others `among` those to choose from are called the same.

    One query, however many rows. The rows have their model.
    """
    models = {row.catalog_model_id for row in rows}
    counted = among.filter(catalog_model__in=models).order_by().values("catalog_model_id", "quantisation")
    several = {
        (one["catalog_model_id"], one["quantisation"])
        for one in counted.annotate(number=Count("pk", distinct=True))
        if one["number"] > 1
    }
    found = [apart(row) if (row.catalog_model_id, row.quantisation) in several else plain(row) for row in rows]
    return [
        label if found.count(label) == 1 else f"{label} · #{row.pk}" for row, label in zip(rows, found, strict=True)
    ]


def plain(artifact: Artifact) -> str:
    """Its model with its quantisation, or with the format where nothing tells that."""
    return str(artifact) if artifact.quantisation else f"{artifact} ({artifact.format})"


def apart(artifact: Artifact) -> str:
    """Its name and everything that tells it from others of this name."""
    file = artifact.main_file if artifact.format == "gguf" else artifact.format
    day = timezone.localtime(artifact.created_at).date().isoformat()
    words = (plain(artifact), file, size(artifact.size_bytes), source(artifact), day)
    return " · ".join(word for word in words if word)


def source(artifact: Artifact) -> str:
    """Where it came from, in a few words; empty when nobody knows."""
    said = artifact.source
    match said.get("kind"):
        case "hub":
            return f"{said.get('repo', '')}@{str(said.get('commit', ''))[:7]}"
        case "url":
            return str(said.get("url", "")).partition("://")[2].partition("/")[0]
        case "path":
            return str(said.get("path", ""))
        case "made":
            return "made here"
    return ""


def size(size_bytes: int) -> str:
    """Bytes in the unit that people compare files in."""
    return f"{size_bytes / GIB:,.1f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:,.1f} MiB"
