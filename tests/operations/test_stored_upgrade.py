"""An installation as it was before the catalogue had owners: upgraded as `make run` does it, broken off, and back."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.operations import filler
from tests.operations.stored.in_place import in_place
from webapp.operations import restoring, schema, starting, tables

pytestmark = pytest.mark.django_db(transaction=True)
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def stored(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """The installation of before; its folder of backups."""
    with in_place(tmp_path):
        yield tmp_path / "backups"


def upgrade() -> str:
    """As `make run` calls it."""
    out = io.StringIO()
    call_command("upgrade", "--while-starting", stdout=out)
    return out.getvalue()


def rows_as_backed_up() -> Rows:
    """All rows of all tables, those of Django that no model has among them; nothing is on hold."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_installation SET is_on_hold = %s", [False])
    return {table: rows for table, rows in filler.everything().items() if table not in tables.LEFT_OUT}


def test_the_backup_made_before_brings_back_every_row_and_a_second_upgrade_does_nothing(stored: Path) -> None:
    before = rows_as_backed_up()
    assert sum(map(len, before.values())) > 500
    said = upgrade()
    assert schema.inspect().is_current
    [backup] = stored.iterdir()
    assert str(backup) in said
    after = rows_as_backed_up()
    assert after.keys() > before.keys()
    upgrade()
    assert rows_as_backed_up() == after
    assert list(stored.iterdir()) == [backup]
    restoring.restore(backup)
    assert rows_as_backed_up() == before


def test_an_upgrade_that_broke_off_is_refused_everywhere_until_it_is_whole_or_undone(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows_as_backed_up()
    with connection.cursor() as cursor:
        # The migration that makes a table of this name cannot; those before it are done. No backup holds views.
        cursor.execute("CREATE VIEW catalog_artifactgrant AS SELECT 1 AS one")
    with pytest.raises(CommandError, match="make restore FROM"):
        upgrade()
    assert ("catalog", "0007_owners") in schema.inspect().missing
    assert len(schema.inspect().missing) < 20
    with pytest.raises(SystemExit):
        starting.refuse_unfit_schema()
    assert "If an upgrade broke off" in capsys.readouterr().err
    [backup] = stored.iterdir()
    restoring.restore(backup)
    with connection.cursor() as cursor:
        cursor.execute("DROP VIEW catalog_artifactgrant")
    assert rows_as_backed_up() == before
    upgrade()
    assert schema.refusal() is None
