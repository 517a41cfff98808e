"""The command as it stands in the environment, and as a package for other machines."""

import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.browser.site import REPOSITORY
from tests.parts import figures
from workers.launcher import environment


def test_the_environment_has_a_command_that_runs_from_anywhere(tmp_path):
    folder = tmp_path / "env"
    (folder / "bin").mkdir(parents=True)
    # An environment whose Python is this one.
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = environment.write_command(folder, REPOSITORY)
    told = subprocess.run([str(command), "--help"], cwd="/", capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "Usage: modelyard" in told.stdout
    before = command.stat().st_mtime_ns
    environment.write_command(folder, REPOSITORY)
    assert command.stat().st_mtime_ns == before


def test_help_loads_nothing_that_it_does_not_need():
    """Its promise is 0.3 s, which `make bench` measures; here is looked for what would break it."""
    command = [sys.executable, "-X", "importtime", "-m", "webapp.interfaces.cli", "--help"]
    took_s = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, *command[3:]], cwd=REPOSITORY, capture_output=True, check=True)
        took_s.append(time.monotonic() - began)
    figures.tell("`modelyard --help` (median of 5)", sorted(took_s)[2], 0.3, "s")
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
    heavy = {"asyncio", "yaml", "pydantic", "django", "ninja", "httpx", "requests", "huggingface_hub", "openai"}
    assert "typer" in loaded and heavy & loaded == set()


@pytest.mark.slow
def test_the_package_brings_the_command_and_the_description(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY)], check=True)
    [wheel] = Path(tmp_path).glob("modelyard-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"webapp/interfaces/api/openapi.json", "webapp/interfaces/cli/main.py"} <= names
    assert not any(name.startswith(("tests/", "var/")) for name in names)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    inside = str(tmp_path / "env" / "bin" / "python")
    install = [inside, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    subprocess.run([*install, "typer>=0.20,<1", "pyyaml>=6,<7"], check=True)
    command = str(tmp_path / "env" / "bin" / "modelyard")
    told = subprocess.run([command, "--help"], cwd="/", capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "deployments" in told.stdout
