"""The state folder of the tests, named before anything reads a setting: loaded by `-p tests.stage`, because
pytest-django reads the settings before any conftest."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

STATE = Path(tempfile.mkdtemp(prefix="modelyard-tests-"))
os.environ["MODELYARD_STATE_DIR"] = str(STATE)
os.environ["MODELYARD_TEST_DATABASE"] = str(STATE / "test.sqlite3")
# Built images and downloads are worth keeping between runs.
os.environ.setdefault("MODELYARD_CACHE_DIR", str(Path.home() / ".cache" / "modelyard"))
for _name in ("MODELYARD_URL", "MODELYARD_BIND", "MODELYARD_PORT", "MODELYARD_REDIS_URL", "MODELYARD_IMPORT_ROOTS"):
    os.environ.pop(_name, None)
(STATE / "static").mkdir()
(STATE / "import").mkdir()


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(STATE, ignore_errors=True)
