"""Importing from the command line."""

import shlex
import subprocess

from tests.catalog.gguf_file import write_gguf


def test_a_file_that_jobs_may_not_read_is_refused_with_a_command_that_works(ada, stack):
    folder = stack.site.state / "import" / "ada's models"
    folder.mkdir(mode=0o700)
    path = write_gguf(folder / "tiny.gguf")
    path.chmod(0o600)
    words = ("imports", "create", "--source-path", str(path))
    told = ada(*words)
    assert told.code != 0 and f"{folder} cannot be entered by jobs" in told.err
    command = told.err.partition("everybody: ")[2].partition("\n")[0]
    assert shlex.split(command) == ["chmod", "a+x", str(folder), "&&", "chmod", "a+r", str(path)]
    subprocess.run(["sh", "-c", command], check=True)
    made = ada(*words, "--json")
    assert made.code == 0 and made.json["state"] == "queued", made.err
