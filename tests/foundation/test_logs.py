"""Log lines: readable or JSON, with what is known about the work in hand, without secrets."""

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from webapp.foundation import logs


def line(formatter: logging.Formatter, text: str, *arguments: Any, exc_info: Any = None) -> str:
    record = logging.LogRecord("webapp.foundation.work_queue", logging.WARNING, __file__, 1, text, arguments, exc_info)
    return formatter.format(record)


def test_a_plain_line_reads_well() -> None:
    assert (
        line(logs.PlainFormatter(), "could not wake %s", "x")
        == "WARNING webapp.foundation.work_queue: could not wake x"
    )


def test_what_is_bound_stands_in_every_line_and_only_there() -> None:
    with logs.bound(replica=3), logs.bound(request=lambda: "abc", user=None):
        assert (
            line(logs.PlainFormatter(), "down") == "WARNING webapp.foundation.work_queue: down [replica=3 request=abc]"
        )
        found = json.loads(line(logs.JsonFormatter("web"), "down"))
    assert (found["replica"], found["request"], found["process"], found["level"]) == (3, "abc", "web", "warning")
    assert "user" not in found
    assert line(logs.PlainFormatter(), "down") == "WARNING webapp.foundation.work_queue: down"


def test_a_json_line_is_one_line_whatever_is_in_it() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        text = line(logs.JsonFormatter(), "broke:\n%s", "ä\x1b[31m", exc_info=sys.exc_info())
    assert "\n" not in text
    found = json.loads(text)
    assert found["message"] == "broke:\nä\x1b[31m" and "ValueError: first" in found["traceback"]
    assert found["at"].endswith("Z")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("key my_0a1b2c3d_" + "x" * 43, "key my_0a1b2c3d_…"),
        ("token myp_eyJ1c2VyIjozfQ.c2lnbmF0dXJlLWhlcmU", "token myp_…"),
        ("hub hf_" + "A" * 34, "hub hf_…"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer …"),
        ("postgresql://me:s3cret@db/x", "postgresql://me:…@db/x"),
        ("redis://:s3cret@cache/0", "redis://:…@cache/0"),
        ("GET /x?token=abc&y=1", "GET /x?token=…&y=1"),
        ("nothing of that kind: my_model, password reset, http://host:80/x", None),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str, wanted: str | None) -> None:
    for formatter in (logs.PlainFormatter(), logs.JsonFormatter()):
        assert (wanted or text) in line(formatter, text)


def test_a_traceback_is_scrubbed_too() -> None:
    try:
        raise ValueError("postgresql://me:s3cret@db/x")
    except ValueError:
        for formatter in (logs.PlainFormatter(), logs.JsonFormatter()):
            assert "s3cret" not in line(formatter, "broke", exc_info=sys.exc_info())


def test_a_task_names_its_subject() -> None:
    from workers import log_facts

    class Task:
        name = "deployments.reconcile"

    log_facts.name_the_subject(task_id="t1", task=Task(), args=[7])
    assert logs.known() == {"task": "t1", "replica": 7}
    log_facts.forget_the_subject()
    assert logs.known() == {}


def test_a_request_names_itself_the_person_and_the_key(
    client: Any, ada: Any, deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.accounts.services import create_key
    from webapp.deployments import services

    row, key = create_key(ada, ada.teams.get(), "k")
    seen: list[dict[str, Any]] = []

    def break_down(*_all: Any, **_more: Any) -> None:
        seen.append(logs.known())
        raise services.Conflict("no")

    monkeypatch.setattr("webapp.interfaces.api.deployments.router.services.stop", break_down)
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": "req-1"}
    assert client.post(f"/api/v1/deployments/{deployment.pk}/stop", headers=headers).status_code == 409
    assert seen == [{"request": "req-1", "user": "ada", "key": row.prefix}]
    assert logs.known() == {}


@pytest.mark.parametrize("form", ["plain", "json"])
def test_processes_without_django_write_the_same_lines(form: str) -> None:
    code = "import logging; from webapp.foundation import logs; logs.set_up(); logging.getLogger('x').info('hello')"
    environment = {**os.environ, "MODELYARD_LOG_FORMAT": form, "MODELYARD_PROCESS": "beat"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if form == "plain":
        assert done.stderr == "INFO x: hello\n"
    else:
        assert json.loads(done.stderr)["process"] == "beat"
