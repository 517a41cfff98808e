"""Puts a stored installation of before where this process, and those that it starts, look for theirs."""

import base64
import contextlib
import gzip
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from webapp.accounts import sign_in

HERE = Path(__file__).parent
MASTER_KEY = bytes(range(32))


@contextlib.contextmanager
def in_place(folder: Path, version: str = "before_owners") -> Iterator[dict[str, Any]]:
    """Until the end the default database and the state folder are those of before; what is told of them."""
    about = HERE / version / f"{connection.vendor}.json"
    with pytest.MonkeyPatch.context() as patch, _database(folder, version) as url:
        (folder / "secrets").mkdir(mode=0o700)
        (folder / "secrets" / "master.key").write_bytes(base64.urlsafe_b64encode(MASTER_KEY) + b"\n")
        patch.setenv("MODELYARD_STATE_DIR", str(folder))
        patch.setenv("MODELYARD_BACKUP_DIR", str(folder / "backups"))
        patch.setenv("MODELYARD_DATABASE_URL", url)
        _forget()
        try:
            yield json.loads(about.read_text()) if about.exists() else {}
        finally:
            connection.close()
    _forget()


@contextlib.contextmanager
def _database(folder: Path, version: str) -> Iterator[str]:
    """A database with the stored rows instead of the default one; its URL."""
    before = connection.settings_dict["NAME"]
    make = _sqlite if connection.vendor == "sqlite" else _postgresql
    text = gzip.decompress((HERE / version / f"{connection.vendor}.sql.gz").read_bytes()).decode()
    with make(text, folder) as made:
        name, url = made
        connection.close()
        connection.settings_dict["NAME"] = name
        try:
            yield url
        finally:
            connection.close()
            connection.settings_dict["NAME"] = before


@contextlib.contextmanager
def _sqlite(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / "db.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(text)
    yield str(path), f"sqlite:///{path}"


@contextlib.contextmanager
def _postgresql(text: str, _folder: Path) -> Iterator[tuple[str, str]]:
    import psycopg

    name = f"stored_{secrets.token_hex(4)}"
    parts = urlsplit(os.environ["MODELYARD_DATABASE_URL"])
    url = urlunsplit(parts._replace(path=f"/{name}"))
    with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            with psycopg.connect(url, autocommit=True) as database:
                database.execute(text.encode())
            yield name, url
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _forget() -> None:
    """What this process has kept of the other installation."""
    ContentType.objects.clear_cache()
    sign_in.forget()
