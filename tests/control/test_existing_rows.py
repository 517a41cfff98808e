"""Rows that were there before calls were counted as seen or not."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunPython

from webapp.control.kinds import Kind
from webapp.deployments.lifecycle import REPLICA
from webapp.jobs import services as jobs
from webapp.jobs.models import JobKind
from webapp.jobs.services import JOB

pytestmark = pytest.mark.django_db
MIGRATIONS = [("deployments", "0004_control_loop", REPLICA), ("jobs", "0005_control_loop", JOB)]


@pytest.mark.parametrize(("app", "name", "kind"), MIGRATIONS, ids=[app for app, _name, _kind in MIGRATIONS])
def test_calls_of_years_ago_make_no_row_due(
    app: str, name: str, kind: Kind[Any], deployment: Any, ada: Any, team: Any, artifact: Any, host: Any
) -> None:
    """Every ended job of an installation would stand in its host's line before the work of today."""
    jobs.queue_job(ada, team, JobKind.FETCH, artifact, host, {"files": []})
    kind.rows_of._default_manager.update(wakes=7, wakes_seen=0, next_due_at=None)
    assert kind.due().exists()
    loader = MigrationLoader(connection)
    for operation in loader.get_migration(app, name).operations:
        if isinstance(operation, RunPython):
            operation.code(loader.project_state((app, name)).apps, connection.schema_editor())
    assert not kind.due().exists()
