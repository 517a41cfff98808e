"""The database refuses changes of the audit log; a table for the cache that the limits on signing in count in."""

from django.core.management import call_command
from django.db import migrations

from webapp.accounts import audit_triggers


def install(apps, schema_editor):
    audit_triggers.install(schema_editor)


def remove(apps, schema_editor):
    audit_triggers.remove(schema_editor)


def make_cache_table(apps, schema_editor):
    call_command("createcachetable", "accounts_cache", database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_teams_links_sign_in")]

    operations = [
        migrations.RunPython(install, remove),
        migrations.RunPython(make_cache_table, migrations.RunPython.noop),
    ]
