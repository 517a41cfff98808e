"""`modelyard apply` and `export` against a running Modelyard."""

from uuid import uuid4

import pytest

from webapp.interfaces.cli.applying import ONE
from webapp.interfaces.cli.description import Description

CAN_CHANGE = Description.read().find("PATCH", ONE) is not None

FILE = """
deployments:
  - name: {name}-a
    model: SmolLM2/Q8_0
    options:
      context_length: 2048
    replicas: 2
    host: local
  - name: {name}-b
    team: research
    model: SmolLM2/Q4_K_M
    desired: stopped
"""


@pytest.fixture
def name(request):
    # One site serves all tests, and cases of one test begin alike.
    return f"{request.node.name.replace('_', '-').replace('test-', '')[:25].rstrip('-')}-{uuid4().hex[:4]}"


@pytest.fixture
def path(home, name):
    path = home / "modelyard.yaml"
    path.write_text(FILE.format(name=name))
    return path


def test_what_is_declared_is_made_once(ada, path, name):
    seen = ada("apply", "-f", str(path), "--dry-run", "--exit-code")
    assert seen.code == 3, seen.err
    assert f"+ research/{name}-a  create" in seen.out
    assert "2 create" in seen.out
    assert ada("deployments", "get", f"{name}-a").code == 2
    done = ada("apply", "-f", str(path))
    assert done.code == 0, done.err
    first = ada("deployments", "get", f"{name}-a", "--json").json
    assert (first["options"], first["desired_replicas"]) == ({"context_length": 2048}, 2)
    assert first.get("host", "local") == "local"
    assert ada("deployments", "get", f"{name}-b", "--json").json["desired_state"] == "stopped"
    again = ada("apply", "-f", str(path), "--dry-run", "--exit-code", "--json")
    assert again.code == 0
    assert [step["action"] for step in again.json["steps"]] == ["unchanged", "unchanged"]
    path.write_text(path.read_text().replace("context_length: 2048", "context_length: 65536"))
    more = ada("apply", "-f", str(path), "--dry-run")
    assert f"research/{name}-a: The model was trained for a context of 8,192 tokens" in more.out


def test_a_request_is_changed_and_a_setting_is_changed_or_refused_before_anything_is_done(ada, path, name):
    assert ada("apply", "-f", str(path)).code == 0
    path.write_text(path.read_text().replace("desired: stopped", "desired: running"))
    done = ada("apply", "-f", str(path))
    assert (done.code, "desired: stopped -> running" in done.out) == (0, True), done
    path.write_text(path.read_text().replace("2048", "1024").replace("desired: running", "desired: stopped"))
    done = ada("apply", "-f", str(path))
    other = ada("deployments", "get", f"{name}-b", "--json").json
    if CAN_CHANGE:
        assert (done.code, other["desired_state"]) == (0, "stopped"), done
        changed = ada("deployments", "get", f"{name}-a", "--json").json
        assert changed["options"] == {"context_length": 1024}
    else:
        assert (done.code, other["desired_state"]) == (2, "running")
        assert "cannot change a deployment in place (options)" in done.err


def test_nothing_is_deleted_without_prune_and_yes(ada, path, name):
    assert ada("apply", "-f", str(path)).code == 0
    whole = ada("export", "--team", "research").out
    path.write_text(whole.replace(f"  name: {name}-b", f"  name: {name}-c"))
    assert ada("apply", "-f", str(path)).code == 0
    assert ada("deployments", "get", f"{name}-b").code == 0
    refused = ada("apply", "-f", str(path), "--prune")
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    done = ada("apply", "-f", str(path), "--prune", "--yes")
    assert done.code == 0, done.err
    assert f"- research/{name}-b  delete" in done.out
    assert ada("deployments", "get", f"{name}-b", "--json").json["desired_state"] == "deleted"
    path.write_text(whole)
    blocked = ada("apply", "-f", str(path))
    assert (blocked.code, f"{name}-b is being deleted" in blocked.err) == (1, True)


def test_what_is_exported_declares_what_is_there(ada, path, home):
    assert ada("apply", "-f", str(path)).code == 0
    exported = home / "exported.yaml"
    exported.write_text(ada("export").out)
    same = ada("apply", "-f", str(exported), "--dry-run", "--exit-code")
    assert same.code == 0, same
    assert "unchanged" in same.out


def test_names_that_are_none_are_said_with_their_lines_and_nothing_is_done(ada, path, name):
    path.write_text(path.read_text().replace("SmolLM2/Q4_K_M", "SmolLM2/Q9").replace("host: local", "host: mars"))
    refused = ada("apply", "-f", str(path))
    assert refused.code == 2
    assert "modelyard.yaml:8: There is no 'mars' among the hosts" in refused.err
    assert "modelyard.yaml:11: There is no 'SmolLM2/Q9' among the artifacts" in refused.err
    assert ada("deployments", "get", f"{name}-a").code == 2


def test_when_one_is_refused_the_rest_is_said_to_be_left(ada, path, name):
    path.write_text(path.read_text().replace("team: research", "options: {context_length: -1}"))
    refused = ada("apply", "-f", str(path))
    assert refused.code == 1
    assert f"research/{name}-b" in refused.err
    assert "1 of 2 changes were made" in refused.err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("team: research", "engine: abacus", "There is no engine 'abacus'; choose among"),
        ("team: research", "engine: vllm", "vLLM does not load GGUF files"),
        ("team: research", "options: {{rm: -rf}}", "rm: Extra inputs are not permitted"),
        ("team: research", "aliases: [{name}-b]", "is its name already"),
        ("-b\n", "_B c\n", "begin and end with a letter or digit"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses_with_the_same_words(ada, path, name, old, new, words):
    path.write_text(path.read_text().replace(old, new.format(name=name)))
    dry = ada("apply", "-f", str(path), "--dry-run")
    assert (dry.code, words in dry.err) == (1, True), dry
    assert ada("deployments", "get", f"{name}-a").code == 2
    real = ada("apply", "-f", str(path))
    assert real.code == 1
    assert dry.err.partition("\n  request ")[0] in real.err


def test_a_dry_run_tells_every_refusal(ada, path, name):
    text = path.read_text().replace("context_length: 2048", "context_length: -1")
    path.write_text(text.replace("team: research", "engine: abacus"))
    dry = ada("apply", "-f", str(path), "--dry-run", "--json")
    assert (dry.code, f"{name}-a: context_length" in dry.err, "'abacus'" in dry.err) == (1, True, True), dry
    assert dry.json["applied"] is False


def test_a_dry_run_of_a_change_and_of_a_deletion_is_refused_to_a_viewer(as_person, stack, path, name):
    ada = as_person("ada")
    assert ada("apply", "-f", str(path)).code == 0
    change = """
from webapp.accounts.models import Membership
Membership.objects.filter(user__username="ada").update(role={role!r})
result = None
"""
    stack.site.do(change.format(role="viewer"))
    try:
        path.write_text(path.read_text().replace("2048", "1024").replace(f"{name}-b", f"{name}-c"))
        dry = ada("apply", "-f", str(path), "--dry-run", "--prune")
    finally:
        stack.site.do(change.format(role="admin"))
    assert dry.code == 1
    for part in ("a", "b", "c"):
        assert f"{name}-{part}: " in dry.err


def test_a_name_may_move_within_a_file_and_stand_there_once(ada, path, name):
    base = path.read_text()
    path.write_text(base.replace("replicas: 2", f"replicas: 2\n    aliases: [{name}-x]"))
    assert ada("apply", "-f", str(path)).code == 0
    moved = base.replace("replicas: 2", "replicas: 2\n    aliases: []")
    path.write_text(moved.replace("desired: stopped", f"desired: stopped\n    aliases: [{name}-x]"))
    dry = ada("apply", "-f", str(path), "--dry-run")
    assert dry.code == 0, dry
    assert ada("apply", "-f", str(path)).code == 0
    twice = path.read_text().replace("aliases: []", f"aliases: [{name}-y]")
    path.write_text(twice.replace(f"[{name}-x]", f"[{name}-y]"))
    dry, real = ada("apply", "-f", str(path), "--dry-run"), ada("apply", "-f", str(path))
    assert (dry.code, real.code) == (1, 1)
    for said in (dry.err, real.err):
        assert f"{name}-b: The team uses {name}-y already.\n  Choose other aliases." in said


def test_a_file_that_is_not_there_is_said(ada):
    assert ada("apply", "-f", "/no/such/file").code == 2


LABELLED = """
deployments:
  - {{name: {name}, model: SmolLM2/Q8_0, placement_labels: [gpu=a100], max_tokens_limit: 500}}
"""


def test_placement_labels_and_limits_are_declared_told_and_exported(as_person, home, name):
    ada = as_person("ada")
    path = home / "labels.yaml"
    path.write_text(LABELLED.format(name=name))
    seen = ada("apply", "-f", str(path), "--dry-run")
    assert seen.code == 0, seen.err
    assert f"research/{name}: No host carries the label gpu=a100." in seen.out
    assert "modelyard hosts update HOST --labels gpu=a100" in seen.out
    assert as_person("root")("hosts", "update", "local", "--labels", "gpu=a100").code == 0
    as_person("ada")
    seen = ada("apply", "-f", str(path), "--dry-run")
    assert "No host carries" not in seen.out
    assert ada("apply", "-f", str(path)).code == 0
    assert ada("deployments", "get", name, "--json").json["placement_labels"] == ["gpu=a100"]
    assert ada("deployments", "get", name, "--json").json["max_tokens_limit"] == 500
    assert "- gpu=a100" in ada("export").out and "max_tokens_limit: 500" in ada("export").out
    assert ada("deployments", "update", name, "--max-tokens-limit", "0").code == 0
    assert "max_tokens_limit: 0 -> 500" in ada("apply", "-f", str(path), "--dry-run").out
    made = ada(
        "deployments", "create", "--name", f"{name}-c", "--artifact", "SmolLM2/Q8_0", "--placement-labels", "GPU"
    )
    assert made.code != 0 and "is no label" in made.err
    path.write_text(path.read_text().replace("[gpu=a100]", "gpu=a100"))
    wrong = ada("apply", "-f", str(path))
    assert wrong.code == 2 and "placement_labels: a list of names is needed" in wrong.err
