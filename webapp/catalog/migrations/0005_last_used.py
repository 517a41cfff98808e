from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("catalog", "0004_lineage")]
    operations = [
        migrations.AddField(
            model_name="artifact",
            name="last_used_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
