"""The environment's maker: what it says when something is missing, and when it does nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from workers.launcher import environment


def test_an_old_python_is_told_which_one_is_needed() -> None:
    with pytest.raises(environment.Incomplete, match=r"needs Python 3\.11 or newer; this is 3\.9"):
        environment.check_python((3, 9))


def test_the_oldest_supported_python_may() -> None:
    environment.check_python((3, 11))


def test_a_missing_venv_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "missing_module", lambda: "ensurepip")
    monkeypatch.setattr(environment.os, "geteuid", lambda: 1000)
    with pytest.raises(environment.Incomplete) as refusal:
        environment.make_venv(tmp_path / ".venv", uv=None)
    assert "`ensurepip` is missing" in str(refusal.value)
    assert "sudo apt-get install -y python3-venv" in str(refusal.value)
    assert not (tmp_path / ".venv").exists()


def test_root_is_not_told_to_use_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.os, "geteuid", lambda: 0)
    assert "sudo" not in environment.venv_advice("venv")


def test_an_unchanged_lock_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock, folder = tmp_path / "requirements.lock", tmp_path / ".venv"
    for name in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / name).write_text(f"# {name}\n")
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "_run", lambda command, *_: commands.append(command))
    monkeypatch.setattr(environment, "make_venv", lambda folder, uv: folder.mkdir(exist_ok=True))
    assert environment.ensure(folder, lock)
    assert not environment.ensure(folder, lock)
    assert len(commands) == 1
    lock.write_text("# changed\n")
    assert environment.ensure(folder, lock)


def test_a_development_environment_also_runs_the_product(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.setattr(environment, "_run", lambda command, *_: None)
    monkeypatch.setattr(environment, "make_venv", lambda folder, uv: folder.mkdir(exist_ok=True))
    assert environment.ensure(tmp_path / ".venv", tmp_path / "requirements-dev.lock")
    assert not environment.ensure(tmp_path / ".venv", tmp_path / "requirements.lock")


def test_packages_are_checked_against_the_locks_hashes(tmp_path: Path) -> None:
    for uv in (None, "/usr/bin/uv"):
        assert "--require-hashes" in environment.install_command(tmp_path, tmp_path / "requirements.lock", uv)


def test_a_failed_install_is_told_and_tried_again_next_time(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("modelyard-no-such-package==1 --hash=sha256:" + "0" * 64 + "\n")
    (tmp_path / "requirements-dev.lock").write_text("")
    # The copy stands in a root of its own, and an empty folder is its only package index.
    program = tmp_path / "workers" / "launcher" / "environment.py"
    program.parent.mkdir(parents=True)
    program.write_text(Path(environment.__file__).read_text())
    env = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = subprocess.run([sys.executable, str(program)], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "installing the locked packages failed" in done.stderr
    assert "modelyard-no-such-package" in done.stderr
    assert not (tmp_path / ".venv" / environment.STAMP).exists()


# Fails twice as pip does when a server hangs up in the middle of a wheel.
FLAKY = """
import sys, pathlib
tries = pathlib.Path(sys.argv[1])
tries.write_text(tries.read_text() + "x")
if len(tries.read_text()) <= int(sys.argv[2]):
    sys.exit(sys.argv[3])
print("done")
"""


@pytest.mark.parametrize(
    ("said", "tries"),
    [
        ("pip._vendor.urllib3.exceptions.IncompleteRead: IncompleteRead(3 bytes read, 9 more expected)", 3),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", 3),
        ("HTTPSConnectionPool(host='x', port=443): Read timed out.", 3),
        ("error: Failed to fetch: `x/torch.whl`", 3),
        ("ERROR: No matching distribution found for modelyard-no-such-package==1", 1),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", 1),
    ],
)
def test_a_download_that_broke_is_tried_again_and_no_other_failure(tmp_path: Path, said: str, tries: int) -> None:
    count = tmp_path / "tries"
    for failures, code in ((2, 0 if tries == 3 else 1), (9, 1)):
        count.write_text("")
        done = environment.patiently([sys.executable, "-c", FLAKY, str(count), str(failures), said], pause_s=0)
        assert (done.returncode, len(count.read_text())) == (code, tries)
    assert said in done.stderr
