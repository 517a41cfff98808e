"""Where the backups of a test go, and which master keys it begins with."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stage import STATE
from webapp.foundation import key_ring, secret_store
from webapp.operations import master_key, schema


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Backups go to a folder of the test's own; what a restore puts into the state folder is taken away."""
    secret_store.derive("make the key")
    monkeypatch.setenv("MODELYARD_BACKUP_DIR", str(tmp_path / "backups"))
    key = master_key.read()
    before = set(STATE.iterdir())
    yield tmp_path
    master_key.write(key or b"")
    for path in set(STATE.iterdir()) - before:
        if path.is_dir():
            shutil.rmtree(path)
    if schema.refusal():
        raise AssertionError(schema.refusal())


@pytest.fixture
def ring() -> key_ring.Ring:
    """The keys of the test installation, of which there is at least one before the test begins."""
    return key_ring.current()
