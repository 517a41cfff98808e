from django.db import migrations, models


def fill(apps, editor):  # type: ignore[no-untyped-def]
    """As Artifact says its name; migrations know no methods of models."""
    Schedule = apps.get_model("schedules", "Schedule")
    for row in Schedule.objects.exclude(artifact=None).select_related("artifact__catalog_model"):
        row.source_name = f"{row.artifact.catalog_model.name} {row.artifact.quantisation}".strip()
        row.save(update_fields=["source_name"])


class Migration(migrations.Migration):
    dependencies = [("schedules", "0002_golden_prompts")]

    operations = [
        migrations.AddField("schedule", "source_name", models.CharField(blank=True, default="", max_length=200)),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
