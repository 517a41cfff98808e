"""Where an artifact comes from, as a tree for people and as a small JSON document to go with the files."""

from typing import Any

from django.db.models import QuerySet

from webapp.accounts.models import User
from webapp.catalog.models import Artifact, CopyState
from webapp.deployments.models import Deployment
from webapp.inventory.models import Host
from webapp.quantisation.models import Measurement

VERSION = 1


def provenance(artifact: Artifact, user: User) -> dict[str, Any]:
    """Lineage, recipe, tools, checksums and measurements, and where it runs that this person may see."""
    rows = Measurement.objects.filter(artifact=artifact).for_list(user)
    copies = artifact.copies.filter(state=CopyState.PRESENT, host__in=Host.objects.visible_to(user))
    deployments = Deployment.objects.visible_to(user).filter(artifact=artifact)
    return {
        "provenance": VERSION,
        "artifact": artifact.pk,
        "model": artifact.catalog_model.name,
        "format": artifact.format,
        "quantisation": artifact.quantisation,
        "created_at": artifact.created_at.isoformat(),
        "licence": artifact.catalog_model.licence,
        "size_bytes": artifact.size_bytes,
        "files": [{key: file.get(key) for key in ("name", "size_bytes", "sha256")} for file in artifact.files],
        "source": {key: value for key, value in artifact.source.items() if key != "sealed_url"},
        "made": artifact.recipe or None,
        "measurements": [measured(row) for row in rows],
        "hosts": sorted(copies.values_list("host__name", flat=True)),
        "deployments": sorted(deployments.values_list("name", flat=True).distinct()),
    }


def measured(row: Measurement) -> dict[str, Any]:
    """One measurement with everything that it depends on."""
    return {
        "id": row.pk,
        "artifact": row.artifact_id,
        "against": row.against_id,
        "host": row.host.name if row.host else None,
        "tool": row.tool,
        "text": {"name": row.text_name, "sha256": row.text_sha256},
        "context": row.context,
        "chunks": row.chunks,
        "at": row.at.isoformat(),
        "job": row.job_id,
        "values": row.values,
    }


def lineage(artifacts: QuerySet[Artifact] | list[Artifact]) -> list[dict[str, Any]]:
    """The artifacts as a tree written from the top: {artifact, depth, indent}, children behind their parent."""
    rows = list(artifacts)
    known = {row.pk for row in rows}
    children: dict[int | None, list[Artifact]] = {}
    for row in rows:
        children.setdefault(row.parent_id if row.parent_id in known else None, []).append(row)
    found: list[dict[str, Any]] = []

    def walk(parent: int | None, depth: int) -> None:
        for row in children.get(parent, []):
            found.append({"artifact": row, "depth": depth, "indent": "\u00a0" * 4 * (depth - 1)})
            walk(row.pk, depth + 1)

    walk(None, 0)
    return found
