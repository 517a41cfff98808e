"""The hub that most people mean, so that a new installation can search at once."""

from typing import Any

from django.db import migrations


def add(apps: Any, schema_editor: Any) -> None:
    apps.get_model("catalog", "Hub").objects.get_or_create(name="Hugging Face")


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_hubs")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
