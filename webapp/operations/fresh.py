"""A database that nobody has used yet: its tables as the models have them now, without the way that led there.

Applying every migration to nothing takes more than ten seconds of a processor and comes to the same. That it does is
held by tests/operations/test_fresh.py, column by column and row by row, on SQLite and PostgreSQL.
"""

from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from webapp.accounts import audit_triggers
from webapp.catalog.models import Hub
from webapp.operations import schema


def make() -> None:
    """All tables in the default database, which has to be empty, and `fill`; or nothing of it."""
    # SQLite heeds this outside of a transaction alone, and changes no schema while it looks at foreign keys.
    connection.disable_constraint_checking()
    try:
        with transaction.atomic():
            with connection.schema_editor() as editor:
                for model in apps.get_models():
                    if model._meta.can_migrate(connection):
                        editor.create_model(model)
            fill()
    finally:
        connection.enable_constraint_checking()


def fill() -> None:
    """What migrations do beside making tables, and all of them noted as applied."""
    with transaction.atomic():
        audit_triggers.install(connection.schema_editor())
        call_command("createcachetable", "accounts_cache", database=connection.alias, verbosity=0)
        Hub.objects.get_or_create(name="Hugging Face")
        recorder = MigrationRecorder(connection)
        recorder.ensure_schema()
        for app, name in sorted(schema.known()):
            recorder.record_applied(app, name)
