"""Upgrades: tried on a copy, backed up first; and no process starts on a schema that does not fit."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from tests.stage import STATE
from webapp.accounts.models import Team
from webapp.foundation import secret_store
from webapp.foundation.paths import REPOSITORY
from webapp.operations import heartbeats, schema, starting, upgrading

pytestmark = pytest.mark.django_db(transaction=True)


def upgrade(*words: str, **more: Any) -> str:
    from io import StringIO

    out = StringIO()
    call_command("upgrade", *words, stdout=out, **more)
    return out.getvalue()


@pytest.fixture(autouse=True)
def backups_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    secret_store.derive("make the key")
    monkeypatch.setenv("MODELYARD_BACKUP_DIR", str(tmp_path / "backups"))
    return tmp_path / "backups"


@pytest.fixture
def behind() -> Iterator[None]:
    """The schema as it was before this room existed; current again afterwards."""
    call_command("migrate", "operations", "zero", verbosity=0)
    yield
    call_command("migrate", verbosity=0)


@pytest.fixture
def newer() -> Iterator[None]:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("accounts", "9999_from_the_future")
    yield
    recorder.record_unapplied("accounts", "9999_from_the_future")


def test_a_current_schema_is_left_alone(backups_here: Path) -> None:
    assert schema.refusal() is None
    assert "up to date" in upgrade()
    assert "would change nothing" in upgrade("--dry-run")
    assert not backups_here.exists()


def test_what_is_known_is_what_django_knows() -> None:
    from django.db.migrations.loader import MigrationLoader

    assert schema.known() == frozenset(MigrationLoader(None).disk_migrations)


def test_an_upgrade_takes_a_backup_first_and_says_so(behind: None, backups_here: Path) -> None:
    Team.objects.create(name="Research", slug="research")
    assert not schema.inspect().is_current
    said = upgrade()
    assert schema.inspect().is_current
    [made] = backups_here.iterdir()
    assert str(made) in said and "before-upgrade" in made.name
    assert Team.objects.count() == 1


def test_a_dry_run_reports_each_migration_and_changes_nothing(
    behind: None, backups_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to_the_test_database(monkeypatch)
    Team.objects.create(name="Research", slug="research")
    before = schema.inspect()
    said = upgrade("--dry-run")
    assert "operations 0001_initial: 0." in said
    assert "operations_backup no → 0 rows" in said
    assert "Disk needed" in said and "free" in said
    assert schema.inspect() == before
    assert not backups_here.exists()
    assert list(STATE.glob(".dry_run-*")) == []


def test_a_migration_that_would_fail_is_found_on_the_copy(behind: None, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to_the_test_database(monkeypatch)
    with connection.cursor() as cursor:
        # The migration will not be able to make this table.
        cursor.execute("CREATE TABLE operations_heartbeat (name varchar(3))")
    before = schema.inspect()
    try:
        with pytest.raises(CommandError, match="how it failed on a copy"):
            upgrade("--dry-run")
        assert schema.inspect() == before
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE operations_heartbeat")


def test_an_upgrade_that_breaks_off_says_how_to_go_back(behind: None, backups_here: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE operations_heartbeat (name varchar(3))")
    try:
        with pytest.raises(CommandError, match="make restore FROM"):
            upgrade()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE operations_heartbeat")
    assert "not up to date" in (schema.refusal() or "")
    assert len(list(backups_here.iterdir())) == 1


def test_a_newer_schema_is_refused_everywhere(newer: None) -> None:
    assert "newer Modelyard" in (schema.refusal() or "")
    for words in ((), ("--dry-run",)):
        with pytest.raises(CommandError, match="9999_from_the_future"):
            upgrade(*words)


def test_an_upgrade_beside_running_processes_is_refused(behind: None) -> None:
    import fcntl

    (STATE / "run").mkdir(exist_ok=True)
    with (STATE / "run" / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write('{"pid": 4711}')
        lock.flush()
        with pytest.raises(CommandError, match="process 4711"):
            upgrade()
        # `make run` holds that lock itself while it calls us.
        upgrade("--while-starting")


def test_a_process_that_ended_is_not_taken_for_alive() -> None:
    heartbeats.beat("worker")
    assert heartbeats.lively() == ["worker"]
    ended = subprocess.Popen(["true"])
    ended.wait()
    row = heartbeats.Heartbeat.objects.get()
    heartbeats.Heartbeat.objects.update(facts={**row.facts, "pid": ended.pid})
    assert heartbeats.lively() == []


def test_web_says_no_at_its_start(newer: None) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def inner(*_all: Any) -> None:
        raise AssertionError("nothing is served on such a schema")

    asyncio.run(starting.Starting(inner)({"type": "lifespan"}, receive, send))
    assert sent[0]["type"] == "lifespan.startup.failed"
    assert "newer Modelyard" in sent[0]["message"]


def test_processes_end_with_a_sentence(newer: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        starting.refuse_unfit_schema()
    assert "9999_from_the_future" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "workers.watcher"],
        ["-m", "workers"],
        ["-m", "uvicorn", "webapp.asgi:application", "--uds", "{run}/refused.sock"],
    ],
)
def test_the_real_processes_refuse_an_empty_database(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    environment = {
        **os.environ,
        "MODELYARD_STATE_DIR": str(tmp_path),
        "MODELYARD_DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
    }
    words = [word.replace("{run}", str(tmp_path / "run")) for word in command]
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode != 0
    assert "The database is empty" in done.stderr + done.stdout
    shutil.rmtree(tmp_path / "run")


def test_two_upgrades_at_once_are_one(behind: None) -> None:
    assert upgrading.upgrade(lambda _line: None)
    assert upgrading.upgrade(lambda _line: None) == []


def point_to_the_test_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run's inner process reads the URL, which names the database beside which the test's was made."""
    if connection.vendor == "sqlite":
        monkeypatch.setenv("MODELYARD_DATABASE_URL", f"sqlite:///{connection.settings_dict['NAME']}")
