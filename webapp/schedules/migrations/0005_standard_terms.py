"""Fields and stored words of schedules are the field's."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("schedules", "0004_control_loop")]

    operations = [
        migrations.RenameField("schedule", "may_gap", "allow_downtime"),
    ]
