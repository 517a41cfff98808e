"""Every command of the README is run as it stands, or is one of the Makefile's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.fake_engine import FakeEngine
from tests.browser.site import wait_until
from tests.cli.test_chat import READY
from tests.cli.test_commands import MOVES
from webapp.foundation.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
# Where the README's own Modelyard listens.
ADDRESS = "http://127.0.0.1:8000"
LIMIT_S = 120
# The model that `make run` brings.
STARTER = """
from django.utils import timezone
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel
from webapp.inventory.models import Host
old = Artifact.objects.first()
model = CatalogModel.objects.create(name="SmolLM2-135M-Instruct", slug="smollm2-135m-instruct", architecture="llama")
made = Artifact.objects.create(catalog_model=model, format="gguf", quantisation="Q4_1", main_file="m.gguf",
    size_bytes=old.size_bytes, facts=old.facts, files=old.files)
ArtifactCopy.objects.create(artifact=made, host=Host.objects.get(), state="present", verified_at=timezone.now())
"""
BODY = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
FORGET = 'from webapp.deployments.models import Deployment; Deployment.objects.filter(name="chat").delete()'


def typed() -> list[str]:
    """What stands in the README's indented blocks, continued lines joined; pictures and output are no commands."""
    joined = README.replace("\\\n", " ")
    lines = [line[4:].strip() for line in joined.splitlines() if line.startswith("    ")]
    return [line for line in lines if re.match(r"(make|modelyard|curl|pip|python|manage\.py|git) ", line)]


def named() -> list[str]:
    """Commands inside the text and the tables."""
    return re.findall(r"`((?:make|manage\.py|modelyard) [^`]+)`", README)


def test_what_is_run_with_make_is_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    asked = [line.split()[1] for line in [*typed(), *named()] if line.startswith("make ")]
    assert asked and set(asked) <= targets


def test_what_is_run_with_manage_is_a_command():
    from django.core.management import get_commands

    asked = [line.split()[1] for line in [*typed(), *named()] if line.startswith("manage.py ")]
    assert asked and set(asked) <= set(get_commands())


def test_every_other_command_is_run_here():
    others = {line.split()[0] for line in typed() if not line.startswith("make ")}
    assert others == {"modelyard", "curl"}


@pytest.fixture
def shell(stack, home):
    """Runs a line as a reader types it, with the key of the person who reads."""
    command = home / "bin" / "modelyard"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec env PYTHONPATH={REPOSITORY} {sys.executable} -m webapp.interfaces.cli "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "DJANGO_"))}
    own = {"PATH": f"{command.parent}:{kept['PATH']}", "HOME": str(home), "KEY": stack.keys["ada"]}

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line.replace(ADDRESS, stack.url)], cwd=home, env={**kept, **own},
            input=stack.keys["ada"] + "\n", text=True, capture_output=True, timeout=LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Warning" not in done.stderr, done.stderr
        return done.stdout

    return run


@pytest.fixture
def engine(stack):
    engine = FakeEngine()
    yield engine
    stack.site.do(FORGET)
    engine.stop()


def test_the_readme_does_what_it_says(stack, shell, engine):
    stack.site.do(STARTER)
    for line in (line for line in typed() if line.startswith("curl ")):
        assert '"status"' not in shell(line), "no problem document"
    stack.site.do(FORGET)
    for line in (line for line in typed() if line.startswith("modelyard ")):
        if line.startswith("modelyard wait "):
            stack.site.do(MOVES.format(name="chat", states=["placing", "starting", "loading", "ready"], text=""))
            stack.site.do(READY.format(name="chat", port=engine.port))
            wait_until(lambda: stack.site.status("/v1/chat/completions", stack.keys["ada"], BODY) == 200)
        shell(line)
    assert "chat" in (Path(shell("pwd").strip()) / "modelyard.yaml").read_text()
