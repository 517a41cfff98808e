"""Moving to another database and back: every row of every table, and nothing when anything is wrong."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.utils import load_backend

from tests.operations import filler
from tests.parts.postgres import postgres
from webapp.accounts.models import Team
from webapp.deployments.models import Deployment
from webapp.operations import heartbeats, moving, tables
from webapp.operations.moving import canonical
from webapp.settings import database_from_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


def make_database(server: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name}")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="module")
def migrated(server: str) -> str:
    """A database with the schema and no rows, to copy from: the migrations take seconds each time."""
    url = make_database(server, "migrated")
    run_manage(url, "upgrade", "--no-backup")
    return "migrated"


@pytest.fixture
def target(server: str, migrated: str) -> str:
    """A PostgreSQL database with the schema and no rows."""
    return make_database(server, "target", migrated)


@pytest.fixture
def empty(server: str) -> str:
    """A PostgreSQL database with nothing in it at all."""
    return make_database(server, "nothing")


def run_manage(database: str, *words: str, **more: str) -> None:
    """One command in a process of its own, with that database as its default."""
    environment = {**os.environ, "MODELYARD_DATABASE_URL": database, **more}
    done = subprocess.run([sys.executable, "manage.py", *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def move(url: str) -> str:
    out = StringIO()
    call_command("move_database", "--to", url, stdout=out)
    return out.getvalue()


def content(alias: str) -> dict[str, list[str]]:
    """Every row of every model as Python sees it there, in an order of our own."""
    return {
        model._meta.db_table: sorted(json.dumps(canonical(row), sort_keys=True) for row in moving._rows(model, alias))
        for model in moving.in_order()
    }


@contextlib.contextmanager
def elsewhere(url: str) -> Iterator[str]:
    """An alias for another database, made by a connection that knows nothing of the move."""
    about = connections.configure_settings({"default": database_from_url(url)})["default"]
    connections["elsewhere"] = load_backend(about["ENGINE"]).DatabaseWrapper(about, "elsewhere")
    try:
        yield "elsewhere"
    finally:
        connections["elsewhere"].close()
        del connections["elsewhere"]


def there(url: str) -> dict[str, list[str]]:
    with elsewhere(url) as alias:
        return content(alias)


@pytest.mark.postgres
def test_everything_arrives_in_postgresql_and_comes_back(empty: str, tmp_path: Path) -> None:
    made = filler.fill()
    here = content("default")
    said = move(empty)
    assert there(empty) == here
    assert all(len(here[table]) >= count for table, count in made.items())
    assert "counts and checksums agree" in said and "MODELYARD_DATABASE_URL=" in said
    back = f"sqlite:///{tmp_path / 'back.sqlite3'}"
    run_manage(empty, "move_database", MODELYARD_MOVE_TO=back)
    assert there(back) == here


@pytest.mark.postgres
def test_new_rows_get_new_ids_in_the_new_database(target: str) -> None:
    filler.fill()
    move(target)
    highest = max(Team.objects.values_list("pk", flat=True))
    with elsewhere(target) as alias:
        assert Team.objects.using(alias).create(name="later", slug="later").pk > highest


@pytest.mark.postgres
def test_a_database_that_is_not_empty_is_refused(target: str) -> None:
    Team.objects.create(name="Research", slug="research")
    move(target)
    with pytest.raises(CommandError, match=r"is not empty \(accounts_team"):
        move(target)


@pytest.mark.postgres
def test_what_does_not_fit_moves_nothing_and_can_be_tried_again(target: str, make_deployment: Any) -> None:
    if connection.vendor != "sqlite":
        return  # only SQLite takes texts that are too long
    made = make_deployment("fits")
    Deployment.objects.filter(pk=made.pk).update(name="x" * 100)
    with pytest.raises(CommandError, match="deployments_deployment does not fit"):
        move(target)
    Deployment.objects.filter(pk=made.pk).update(name="fits")
    assert "agree" in move(target)


@pytest.mark.postgres
def test_nul_characters_are_left_out_and_said(target: str, make_deployment: Any) -> None:
    if connection.vendor != "sqlite":
        return  # PostgreSQL has none to begin with
    made = make_deployment("nul")
    Deployment.objects.filter(pk=made.pk).update(image="a\x00b", options={"k": "c\x00d"})
    assert "2 texts held NUL" in move(target)


@pytest.mark.postgres
def test_a_difference_that_creeps_in_is_found(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Team.objects.create(name="Research", slug="research")
    reset = tables.reset_sequences

    def tamper(database: Any) -> None:
        reset(database)
        with database.cursor() as cursor:
            cursor.execute("UPDATE accounts_team SET name = 'Resurch'")

    monkeypatch.setattr(tables, "reset_sequences", tamper)
    with pytest.raises(CommandError, match="accounts_team is not the same on both sides"):
        move(target)


def test_a_move_beside_running_processes_is_refused(tmp_path: Path) -> None:
    heartbeats.beat("worker")
    with pytest.raises(CommandError, match="worker worked on this database"):
        move(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    assert not (tmp_path / "new.sqlite3").exists()


def test_a_move_to_itself_is_refused() -> None:
    if connection.vendor != "sqlite":
        return
    with pytest.raises(CommandError, match="is the database in use"):
        move(f"sqlite:///{connection.settings_dict['NAME']}")


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(CommandError, match="mysql"):
        move("mysql://somewhere/x")


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@127.0.0.1:1/", "postgresql://me:s3cret@127.0.0.1:1", "sqlite://"]
)
def test_an_address_that_names_no_database_is_refused_in_words(url: str) -> None:
    with pytest.raises(CommandError, match="names no database") as refused:
        move(url)
    assert "s3cret" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    assert moving.shown("postgresql://me:s3cret@host:5432/db") == "postgresql://me:…@host:5432/db"


def test_a_refused_move_leaves_no_connection_behind(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        move("postgresql://nobody@127.0.0.1:1/none")
    assert not hasattr(connections._connections, moving.TARGET)
