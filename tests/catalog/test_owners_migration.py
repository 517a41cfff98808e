"""What a catalogue held before its things had owners: each gets the team that made it, and nobody loses what runs."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from webapp.catalog.models import Artifact
from webapp.quantisation.models import Measurement

pytestmark = pytest.mark.django_db(transaction=True)
BEFORE = [("catalog", "0006_control_loop"), ("quantisation", "0002_golden_prompts")]


def old_rows(get: Any) -> None:
    """Three teams, and artifacts that came in every way there was."""
    team = {name: get("accounts", "Team").objects.create(name=name, slug=name) for name in ("first", "maker", "user")}
    host = get("inventory", "Host").objects.create(name="h", endpoint="unix:///h")
    model = get("catalog", "CatalogModel").objects.create(name="m", slug="m")

    def artifact(name: str, **columns: Any) -> Any:
        return get("catalog", "Artifact").objects.create(
            catalog_model=model, format="gguf", main_file=name, origin=name, **columns
        )

    def job(row: Any, by: str, kind: str = "fetch") -> Any:
        return get("jobs", "Job").objects.create(kind=kind, team=team[by], host=host, artifact=row, state="succeeded")

    def deployment(row: Any, by: str) -> None:
        get("deployments", "Deployment").objects.create(team=team[by], name=row.main_file, artifact=row, engine="x")

    fetched = artifact("fetched")
    job(fetched, "maker")
    deployment(fetched, "user")
    work = job(fetched, "user", "quantise")
    made = artifact("made", made_by=work, parent=fetched, source={"kind": "made"})
    deployment(artifact("used by one"), "user")
    both = artifact("used by two")
    deployment(both, "maker")
    deployment(both, "user")
    artifact("used by none")
    job(artifact("ships", source={"kind": "path", "path": "/cache/starter.whl", "member": "m.gguf"}), "first")
    measured = get("quantisation", "Measurement").objects.create
    for row, text in ((fetched, "of the source"), (made, "of the result")):
        measured(artifact=row, job=work, text_name=text, text_sha256="0" * 64)


def test_what_exists_gets_the_team_that_made_it_and_those_that_use_it_go_on() -> None:
    executor = MigrationExecutor(connection)
    try:
        executor.migrate(BEFORE)
        others = [one for one in executor.loader.graph.leaf_nodes() if one[0] not in dict(BEFORE)]
        old_rows(executor.loader.project_state([*BEFORE, *others]).apps.get_model)
        executor.loader.build_graph()
    finally:
        executor.migrate(executor.loader.graph.leaf_nodes())
    found = {
        row.main_file: (row.team.slug, row.is_shared, sorted(one.team.slug for one in row.grants.all()))
        for row in Artifact.objects.all()
    }
    assert found == {
        "fetched": ("maker", False, ["user"]),
        "made": ("user", False, []),
        "used by one": ("user", False, []),
        "used by two": ("first", True, []),
        "used by none": ("first", True, []),
        "ships": ("first", True, []),
    }
    owners = {row.text_name: row.team and row.team.slug for row in Measurement.objects.all()}
    assert owners == {"of the source": "user", "of the result": None}
