"""The replica of a record is named by its id, and is called so."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("usage", "0005_refusal_counts")]

    operations = [migrations.RenameField("usagerecord", "replica_number", "replica_id")]
