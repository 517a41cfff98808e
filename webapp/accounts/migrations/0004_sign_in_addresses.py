"""Which claim holds the address, and whether the provider is trusted with it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_audit_triggers_and_cache"),
    ]

    operations = [
        migrations.AddField(
            model_name="signinsettings",
            name="email_claim",
            field=models.CharField(default="email", max_length=60),
        ),
        migrations.AddField(
            model_name="signinsettings",
            name="trusts_addresses",
            field=models.BooleanField(default=False),
        ),
    ]
