"""When each artifact was last used, as far as the sums and replicas of its present deployments tell."""

from typing import Any

from django.db import migrations
from django.db.models import Max


def note(apps: Any, schema_editor: Any) -> None:
    """The last hour with requests, or a replica that is ready; what tells nothing stays empty."""
    get = lambda room, name: apps.get_model(room, name).objects  # noqa: E731
    asked = get("usage", "Rollup").filter(period="hour", requests__gt=0).values_list("deployment_id")
    hours = dict(asked.annotate(last=Max("at")).order_by())
    ready = get("deployments", "Replica").filter(state="ready").values_list("deployment_id")
    proven = dict(ready.annotate(last=Max("state_at")).order_by())
    latest: dict[int, Any] = {}
    for key, artifact in get("deployments", "Deployment").values_list("pk", "artifact_id"):
        dates = [date for date in (hours.get(key), proven.get(key), latest.get(artifact)) if date is not None]
        if dates:
            latest[artifact] = max(dates)
    for artifact, date in latest.items():
        get("catalog", "Artifact").filter(pk=artifact).update(last_used_at=date)


class Migration(migrations.Migration):
    dependencies = [("usage", "0003_failures"), ("catalog", "0005_last_used"), ("deployments", "0003_first_revisions")]
    operations = [migrations.RunPython(note, migrations.RunPython.noop, elidable=True)]
