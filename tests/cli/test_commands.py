"""The command line against a running Modelyard."""

import io
import json
import os
import stat
import subprocess
import sys
import warnings

import pytest

from tests.browser.site import REPOSITORY
from webapp.interfaces.cli.description import Description
from webapp.interfaces.cli.profiles import config_file

DESCRIPTION = Description.read()


@pytest.fixture
def deployment(ada, request):
    """A deployment of ada's, by name; gone afterwards from the list that she sees."""
    name = "cli-" + request.node.name.replace("_", "-").replace("test-", "")[:40].rstrip("-")
    made = ada("deployments", "create", "--name", name, "--artifact", "SmolLM2/Q8_0", "--quiet")
    assert made.code == 0, made.err
    return name


def test_every_list_answers(as_person):
    root = as_person("root")
    for path in sorted(DESCRIPTION.lists):
        operation = DESCRIPTION.find("GET", path)
        if "{" in path or any(field.is_required for field in operation.fields):
            continue
        told = root(operation.group, operation.command, "--json")
        assert told.code == 0, (operation.id, told.err)
        answer = told.json
        assert isinstance(answer if operation.answers == "list" else answer["items"], list)
        assert root(operation.group, operation.command).code == 0


def test_a_deployment_is_made_shown_stopped_and_deleted_by_name(ada):
    made = ada(
        "deployments", "create", "--name", "whole-life", "--artifact", "SmolLM2/Q4_K_M", "--host", "local",
        "--options", "context_length=2048", "--options", "flash_attention=on", "--replicas", "2", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert made.json["options"] == {"context_length": 2048, "flash_attention": "on"}
    assert len(made.json["replicas"]) == 2
    table = ada("deployments", "list").out.splitlines()
    assert table[0].split()[:4] == ["ID", "TEAM", "NAME", "STATE"]
    assert any("whole-life" in line and "pending" in line for line in table)
    one = ada("deployments", "get", "research/whole-life")
    assert "whole-life" in one.out
    assert "REPLICAS" in one.out
    assert ada("deployments", "stop", "whole-life", "--json").json["desired_state"] == "stopped"
    assert ada("deployments", "start", "whole-life", "--quiet").out.strip() == str(made.json["id"])
    events = ada("deployments", "events", "whole-life", "--json").json["items"]
    assert {"requested a start", "requested a stop"} <= {line["text"] for line in events}
    assert ada("deployments", "delete", "whole-life").code == 0


def test_a_whole_body_comes_from_a_file_and_options_are_laid_over_it(ada, home):
    (home / "body.json").write_text(json.dumps({"artifact": 1, "name": "from-file", "replicas": 3}))
    made = ada("deployments", "create", "--body", f"@{home / 'body.json'}", "--replicas", "1", "--json")
    assert (made.json["name"], len(made.json["replicas"])) == ("from-file", 1)


def test_pages_are_walked(ada):
    for number in range(3):
        assert ada("keys", "create", "--name", f"walk-{number}").code == 0
    cut = ada("keys", "list", "--limit", "1")
    assert len(cut.out.splitlines()) == 2
    assert "--all shows the rest" in cut.err
    assert len(ada("keys", "list", "--all", "--quiet").out.split()) >= 4


def test_a_key_is_made_by_its_name_used_and_revoked(ada):
    made = ada("keys", "create", "--name", "one-day", "--scopes", "read", "--scopes", "inference", "--json").json
    assert made["scopes"] == ["read", "inference"]
    revoked = ada("keys", "delete", "one-day")
    assert (revoked.code, revoked.out) == (0, "Done.\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("deployments", "get", "no-such"), 2, "There is no 'no-such' among the deployments"),
        (("deployments", "get", "4711"), 1, "Not found"),
        (("deployments", "create", "--name", "x"), 2, "Missing: --artifact"),
        (("deployments", "create", "--name", "X!", "--artifact", "1"), 1, "lower-case letters"),
        (("deployments", "create", "--name", "x", "--artifact", "SmolLM2"), 2, "names 2 artifacts"),
        (("deployments", "create", "--name", "x", "--artifact", "1", "--options", "x"), 2, "KEY=VALUE"),
        (("deployments", "create", "--body", "{"), 2, "--body"),
        (("deployments", "lsit"), 2, "No such command"),
        (("jobs", "list", "--state", "tired"), 2, "tired"),
        (("--url", "ftp://x", "me", "get"), 2, "is not a URL"),
        (("--url", "http://127.0.0.1:9", "me", "get"), 3, "Cannot reach Modelyard"),
        (("wait", "deployments", "no-such"), 2, "There is no 'no-such'"),
        (("wait", "cats", "tom"), 2, "no list of 'cats'"),
    ],
)
def test_what_goes_wrong_is_said_on_stderr_with_its_code(ada, words, code, said):
    told = ada(*words)
    assert told.code == code, told
    assert said in told.err
    assert not told.out


def test_a_refusal_carries_the_id_to_quote(ada):
    assert "request " in ada("deployments", "get", "4711").err


def test_a_stranger_finds_nothing(as_person, deployment):
    told = as_person("eve")("deployments", "get", deployment)
    assert (told.code, deployment in told.out) == (2, False)


def test_signing_in_keeps_the_key_where_only_its_owner_reads_it(modelyard, stack, home, monkeypatch):
    told = modelyard("login", "--url", stack.url, "--key", stack.keys["ada"])
    assert told.code == 0, told.err
    assert "as ada" in told.out
    file = config_file(os.environ)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert modelyard("me", "get", "--json").json["username"] == "ada"
    assert modelyard("login", "--url", stack.url, "--key", stack.keys["eve"], "--profile", "other").code == 0
    assert modelyard("--profile", "other", "me", "get", "--json").json["username"] == "eve"
    assert "other" in modelyard("profiles").out
    assert stack.keys["ada"] not in modelyard("profiles", "--json").out
    assert modelyard("--profile", "other", "logout").code == 0
    assert modelyard("--profile", "other", "me", "get").code == 2


def test_a_key_on_standard_input_is_taken_without_a_word_about_terminals(modelyard, stack, home, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(stack.keys["ada"] + "\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = modelyard("login", "--url", stack.url)
    assert (told.code, told.err) == (0, ""), told.err
    assert modelyard("me", "get", "--json").json["username"] == "ada"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    told = modelyard("login", "--url", stack.url)
    assert told.code == 2 and "No API key on standard input" in told.err


def test_a_wrong_key_is_not_kept(modelyard, stack):
    told = modelyard("login", "--url", stack.url, "--key", "my_wrong")
    assert told.code == 1
    assert "No valid API key" in told.err
    assert not config_file(os.environ).exists()


def test_status_shows_who_and_what(ada, deployment):
    told = ada("status")
    assert told.code == 0, told.err
    assert "as ada (research)" in told.out
    assert deployment in told.out
    assert "NEEDS ATTENTION" in told.out
    assert ada("status", "--json").json["me"]["username"] == "ada"
    assert ada("status", "--json").json["attention"] == ada("attention", "list", "--json").json


def test_waiting_ends_when_the_state_is_there(ada, stack, deployment):
    stack.site.do(MOVES.format(name=deployment, states=["placing", "starting", "loading", "ready"], text=""))
    for kind in ("deployments", "deployment", "Deployment"):
        told = ada("wait", kind, deployment, "--for", "ready", "--timeout", "600")
        assert (told.code, f"{deployment}: ready" in told.out) == (0, True)


def test_a_kind_that_is_none_is_told_with_those_that_are(ada):
    told = ada("wait", "deploymints", "chat")
    assert told.code == 2 and "deployment, " in told.err and "job" in told.err


def test_a_group_is_found_in_the_singular_too(ada, deployment):
    assert ada("deployment", "get", deployment, "--json").json["name"] == deployment
    assert ada("host", "list").out == ada("hosts", "list").out
    assert ada("person", "list").code == 1, "an admin's page, not an unknown command"


def test_waiting_for_what_failed_ends_with_the_reason(ada, stack, deployment):
    stack.site.do(MOVES.format(name=deployment, states=["placing", "failed"], text="No suitable host."))
    stack.site.do(
        f"from webapp.deployments.models import Replica\n"
        f"Replica.objects.filter(deployment__name={deployment!r}).update(next_due_at=None)"
    )
    told = ada("wait", "deployments", deployment, "--timeout", "600")
    assert told.code == 1
    assert "No suitable host." in told.err


def test_waiting_ends_with_its_own_code_when_time_is_up(ada, deployment):
    told = ada("wait", "deployments", deployment, "--timeout", "0")
    assert told.code == 4
    assert "is pending after 0 s, not ready" in told.err


def test_a_log_is_printed_without_what_steers_terminals(ada, stack, deployment):
    stack.site.do(LOG.format(name=deployment, text="loading \x1b[2Jmodel\nready\n"))
    told = ada("deployments", "logs", deployment)
    assert told.code == 0, told.err
    assert told.out.splitlines()[-1] == "ready"
    assert "\x1b" not in told.out


def test_following_a_log_goes_on_through_a_restart(ada, stack, deployment, monkeypatch):
    from webapp.interfaces.cli import commands

    stack.site.do(LOG.format(name=deployment, text="first\n"))
    rounds = iter([LOG.format(name=deployment, text="second\n"), RESTART.format(name=deployment)])

    def next_round(_seconds):
        code = next(rounds, None)
        if code is None:
            raise KeyboardInterrupt
        stack.site.do(code)

    monkeypatch.setattr(commands.time, "sleep", next_round)
    told = ada("deployments", "logs", deployment, "--follow")
    assert told.out.splitlines() == ["first", "second", "third"]
    assert told.code == 130


def test_the_program_itself_starts_and_speaks_json(stack):
    environment = {**os.environ, "MODELYARD_URL": stack.url, "MODELYARD_API_KEY": stack.keys["ada"]}
    ran = subprocess.run(
        [sys.executable, "-m", "webapp.interfaces.cli", "--json", "me", "get"],
        env=environment, cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(ran.stdout)["username"] == "ada", ran.stderr


MOVES = """
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
replica = Replica.objects.select_related("deployment").get(deployment__name={name!r}, number=1)
for state in {states!r}:
    why = lifecycle.Reason(code="test", text={text!r}, advice="")
    assert lifecycle.move(replica, ReplicaState(replica.state), ReplicaState(state), why)
"""
LOG = """
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
replica = Replica.objects.get(deployment__name={name!r}, number=1)
lifecycle.append_log(replica.pk, replica.generation, replica.attempt, {text!r}, "t")
"""
RESTART = """
from webapp.deployments import lifecycle
from webapp.deployments.models import Replica
Replica.objects.filter(deployment__name={name!r}).update(attempt=2)
replica = Replica.objects.get(deployment__name={name!r}, number=1)
lifecycle.append_log(replica.pk, replica.generation, 2, "third\\n", "t2")
"""
