from django.db import migrations


def note_failures(apps, schema_editor):
    """What was recorded before the column was there."""
    records = apps.get_model("usage", "UsageRecord").objects
    records.exclude(outcome__in=("ok", "client_gone"), status__lt=400).update(has_failed=True)


class Migration(migrations.Migration):
    dependencies = [("usage", "0002_rollups")]
    operations = [migrations.RunPython(note_failures, migrations.RunPython.noop, elidable=True)]
