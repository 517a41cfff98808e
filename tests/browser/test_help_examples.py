"""Every example of the help is run as it stands: `python` and `console` blocks, and `yaml` as a manifest to apply.

They run against a site with a deployment `smollm2` that answers, with MODELYARD_URL and MODELYARD_API_KEY set and
`modelyard` in the path. In a console block the lines after `$ ` are the command, with its continued lines; other lines
are what it prints, and are not compared.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.conftest import MAKE, MOVE
from tests.browser.fake_engine import FakeEngine
from tests.browser.site import wait_until
from tests.browser.test_playground import KEY, READY
from webapp.interfaces.pages.dashboard import help_pages

pytestmark = pytest.mark.browser

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT_S = 120


def examples():
    for slug, page in help_pages.pages().items():
        runnable = [match for match in FENCE.finditer(page.text) if match[1] != "text"]
        for number, match in enumerate(runnable, 1):
            yield pytest.param(match[1], match[2], id=f"{slug}-{number}-{match[1]}")


@pytest.fixture(scope="module")
def surroundings(site, tmp_path_factory):
    """What an example finds around it: a model that answers, a key, the command line."""
    engine = FakeEngine()
    pk = site.do(MAKE.format(name="smollm2", replicas=1))
    site.do(MOVE.format(pk=pk, number=1, states=("placing", "starting", "loading", "ready"), text="", advice=""))
    site.do(READY.format(pk=pk, port=engine.port))
    key = site.do(KEY)
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}]}
    wait_until(lambda: site.status("/v1/chat/completions", key, body) == 200)
    folder = tmp_path_factory.mktemp("examples")
    command = folder / "bin" / "modelyard"
    command.parent.mkdir()
    root = Path(__file__).resolve().parents[2]
    command.write_text(f'#!/bin/sh\nexec env PYTHONPATH={root} {sys.executable} -m webapp.interfaces.cli "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "DJANGO_"))}
    path = f"{command.parent}:{Path(sys.executable).parent}:{kept['PATH']}"
    yield folder, {**kept, "PATH": path, "HOME": str(folder), "MODELYARD_URL": site.url, "MODELYARD_API_KEY": key}
    engine.stop()


@pytest.mark.parametrize(("language", "text"), list(examples()))
def test_an_example_does_what_it_says(surroundings, language, text):
    folder, environment = surroundings
    done = subprocess.run(
        command_of(language, text, folder), cwd=folder, env=environment, text=True, capture_output=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, f"{text}\n--- printed ---\n{done.stdout}\n{done.stderr}"


def command_of(language: str, text: str, folder: Path) -> list[str]:
    if language == "python":
        return [sys.executable, "-W", "error", "-c", text]
    if language == "yaml":
        (folder / "modelyard.yaml").write_text(text)
        return ["sh", "-c", f"modelyard apply -f {shlex.quote(str(folder / 'modelyard.yaml'))} --dry-run"]
    assert language == "console", f"no idea how to run {language}"
    commands = typed(text)
    assert commands, "a console block without a line that begins with `$ `"
    return ["bash", "-euo", "pipefail", "-c", "\n".join(commands)]


def typed(text: str) -> list[str]:
    """The commands of a console block: what follows `$ `, and the lines that a backslash or a heredoc continues."""
    commands, is_open, ends_with = [], False, ""
    for line in text.splitlines():
        if line.startswith("$ ") and not ends_with:
            commands.append(line[2:])
        elif is_open or ends_with:
            commands[-1] += "\n" + line
        else:
            continue
        if ends_with:
            ends_with = "" if line == ends_with else ends_with
            continue
        is_open = line.endswith("\\")
        heredoc = re.search(r"<<-?\s*['\"]?(\w+)", line)
        ends_with = heredoc[1] if heredoc else ""
    return commands


def test_what_is_printed_is_not_taken_for_a_command():
    text = "$ one \\\n    --two\nprinted\n$ cat <<EOF\ninside\nEOF\nprinted, too\n"
    assert typed(text) == ["one \\\n    --two", "cat <<EOF\ninside\nEOF"]


def test_a_failing_command_fails_the_block(tmp_path):
    command = command_of("console", "$ false\n$ true\n", tmp_path)
    assert subprocess.run(command).returncode != 0
