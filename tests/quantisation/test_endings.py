"""How a quantiser's program ends when it cannot go on: the exit code says it even where no word finds room."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from webapp.foundation.paths import REPOSITORY

PROGRAM = """
import pathlib, sys
import steps

def tool(order):
    steps.LEAST_FREE_BYTES = order["least_free_bytes"]
    with steps.whole(pathlib.Path(order["out"])) as draft:
        draft.touch()
        steps.run([sys.executable, "-c", order["code"]], lambda text: print(text, flush=True))
    return {}

sys.exit(steps.main({"tool": tool}))
"""


@pytest.fixture
def begin(tmp_path):
    """Start a program whose one step runs a tool with this code."""

    def start(code: str, **said: object) -> subprocess.Popen[str]:
        order = json.dumps(
            {"step": "tool", "code": code, "out": str(tmp_path / "made.gguf"), "least_free_bytes": 0, **said}
        )
        where = {"PYTHONPATH": str(Path(REPOSITORY) / "compose/quantizers/common"), "MODELYARD_JOB": order}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env={**os.environ, **where}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    return start


@pytest.mark.parametrize("tool", ["time.sleep(60)", "signal.signal(15, lambda *_: sys.exit(143)); time.sleep(60)"])
def test_a_program_that_is_terminated_blames_nobody(begin, tool):
    """Docker ends containers so when it stops; the job goes on with the next attempt."""
    with begin(f"import signal, sys, time; print('up', flush=True); {tool}") as program:
        assert program.stdout.readline() == "up\n"
        program.send_signal(signal.SIGTERM)
        said = program.stdout.read()
    assert (program.returncode, "error" in said) == (143, False)


def test_a_full_disk_is_told_by_the_exit_code_too(begin):
    with begin("import sys; sys.exit('write: No space left on device')") as program:
        said = json.loads(program.stdout.read().splitlines()[-1])
    assert (program.returncode, said["error"]["code"]) == (28, "disk_full")


@pytest.mark.parametrize("code", ["import sys; sys.exit('iostream error')", "pass"])
def test_a_disk_without_room_is_told_whatever_the_tool_said(begin, tmp_path, code):
    """Some tools have other words for it, and some do not notice."""
    with begin(code, least_free_bytes=2**62) as program:
        said = json.loads(program.stdout.read().splitlines()[-1])
    assert said["error"]["code"] == "disk_full" and list(tmp_path.iterdir()) == []


def test_another_failure_is_told_in_words(begin):
    with begin("import sys; sys.exit('unknown flag')") as program:
        said = json.loads(program.stdout.read().splitlines()[-1])
    assert (program.returncode, said["error"]["code"]) == (1, "tool_failed")
