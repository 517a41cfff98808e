"""What people see at the end of the first run."""

import json
from pathlib import Path
from typing import Any

import pytest

from workers.launcher import first_run, forwarder, welcome

NEW = {"username": "admin", "password": "a-password", "is_new": True, "team": "home", "key": "my_key"}
KNOWN = {**NEW, "password": None, "is_new": False, "key": None}


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What `manage.py first_admin` will say, one answer a call."""
    answers: list[dict[str, Any]] = []
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(first_run, "_manage", lambda *words: json.dumps(answers.pop(0)))
    return answers


def test_a_password_that_nobody_has_seen_survives_an_interrupted_run(admin: list[dict[str, Any]]) -> None:
    admin += [NEW, KNOWN]
    assert first_run.first_admin() == NEW
    assert first_run.unshown_secrets().stat().st_mode & 0o777 == 0o600
    assert first_run.first_admin() == NEW


def test_secrets_that_were_shown_are_shown_once(admin: list[dict[str, Any]]) -> None:
    admin += [NEW, KNOWN]
    first_run.first_admin()
    first_run.unshown_secrets().unlink()
    assert first_run.first_admin() == KNOWN
    assert not first_run.unshown_secrets().exists()


def test_the_examples_are_valid_as_printed() -> None:
    lines = welcome.examples("http://127.0.0.1:8000", "my_key")
    body = lines[1].strip().removeprefix("-d '").removesuffix("'")
    assert json.loads(body)["model"] == "smollm2"
    python = "\n".join(lines[lines.index("") + 1 :])
    compile(python, "example", "exec")
    assert python.count("\n") == 3


def test_the_welcome_has_all_that_a_person_needs(capsys: pytest.CaptureFixture[str]) -> None:
    welcome.print_welcome("http://127.0.0.1:8000", NEW, 44.0, has_starter=True)
    shown = capsys.readouterr().out
    for words in ("http://127.0.0.1:8000", "admin", "a-password", "my_key", "curl ", "from openai", "make down"):
        assert words in shown


def test_the_welcome_says_where_the_processes_speak(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELYARD_CONSOLE", raising=False)
    welcome.print_welcome("http://127.0.0.1:8000", NEW, 44.0, has_starter=True)
    assert "/log; MODELYARD_CONSOLE=all" in capsys.readouterr().out
    monkeypatch.setenv("MODELYARD_CONSOLE", "all")
    welcome.print_welcome("http://127.0.0.1:8000", NEW, 44.0, has_starter=True)
    assert "MODELYARD_CONSOLE" not in capsys.readouterr().out


def test_a_later_run_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    welcome.print_welcome("http://127.0.0.1:8000", KNOWN, 9.0, has_starter=True)
    shown = capsys.readouterr().out
    assert "None" not in shown
    assert "as before" in shown
    assert "changepassword admin)" in shown


def test_a_forwarder_is_made_only_where_something_may_want_it(tmp_path: Path) -> None:
    assert not forwarder.is_needed(tmp_path), "both engines that come with the product listen on sockets"
    (tmp_path / "kfd").touch()
    assert forwarder.is_needed(tmp_path), "an engine on AMD's cards runs as its image's user"
