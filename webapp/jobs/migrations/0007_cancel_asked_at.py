"""When somebody asked for a job to stop; of those asked already it is only known that they were there before."""

from typing import Any

from django.db import migrations, models
from django.db.models import F


def since_created(apps: Any, schema_editor: Any) -> None:
    rows = apps.get_model("jobs", "Job").objects
    rows.filter(is_cancel_wanted=True, ended_at=None).update(cancel_asked_at=F("created_at"))


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_job_records_end")]
    operations = [
        migrations.AddField(
            model_name="job",
            name="cancel_asked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunPython(since_created, migrations.RunPython.noop),
    ]
