"""What another team than the artifact's owner measured of it becomes that team's own: it names the team's texts."""

from typing import Any

from django.db import migrations
from django.db.models import F


def give(apps: Any, schema_editor: Any) -> None:
    rows = apps.get_model("quantisation", "Measurement").objects.exclude(job=None).exclude(job__team=None)
    for row in rows.exclude(job__team=F("artifact__team")).select_related("job"):
        row.team_id = row.job.team_id
        row.save(update_fields=["team"])


class Migration(migrations.Migration):
    dependencies = [("catalog", "0008_owners_of_what_exists"), ("quantisation", "0003_owners")]
    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
