"""How long answers may be, what engines say that they can do, and an ordinal that is called one."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deployments", "0006_aliases_as_clients_send_them")]

    operations = [
        migrations.AddField("deployment", "max_tokens_default", models.PositiveIntegerField(default=0)),
        migrations.AddField("deployment", "max_tokens_limit", models.PositiveIntegerField(default=0)),
        migrations.AddField("replica", "capabilities", models.JSONField(blank=True, default=dict)),
        migrations.RenameField("replicaevent", "replica_number", "replica_ordinal"),
    ]
