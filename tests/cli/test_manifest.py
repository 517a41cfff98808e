"""The file of `modelyard apply`: what it says, and on which line it is wrong."""

import pytest

from webapp.interfaces.cli import manifest
from webapp.interfaces.cli.errors import Usage

GOOD = """
deployments:
  - name: chat
    team: research
    model: SmolLM2/Q8_0
    options: {context_length: 8192, flash_attention: "on"}
    replicas: 2
    host: null
    aliases: [gpt-4o-mini, 'qwen2.5:7b', meta-llama/Llama-3.1-8B]
    desired: stopped
  - name: small
    model: 3
"""


def test_what_is_written_is_read_and_nothing_else():
    chat, small = manifest.read(GOOD, "modelyard.yaml")
    assert (chat.team, chat.name, chat.line) == ("research", "chat", 3)
    assert chat.values == {
        "model": "SmolLM2/Q8_0",
        "options": {"context_length": 8192, "flash_attention": "on"},
        "replicas": 2,
        "host": None,
        "aliases": ["gpt-4o-mini", "qwen2.5:7b", "meta-llama/Llama-3.1-8B"],
        "desired": "stopped",
    }
    assert chat.lines["replicas"] == 7
    assert (small.team, small.values) == ("", {"model": 3})


@pytest.mark.parametrize("text", ["", "deployments:", "deployments: []", "# nothing"])
def test_an_empty_file_declares_nothing(text):
    assert manifest.read(text, "modelyard.yaml") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployments:\n  - name: a\n   model: b", "modelyard.yaml:3: "),
        ("- name: a", "modelyard.yaml:1: the file begins with `deployments:`"),
        ("deploymets: []", "modelyard.yaml:1: 'deploymets' is not known here"),
        ("deployments: 3", "modelyard.yaml:1: deployments: a list is needed"),
        ("deployments:\n  - chat", "modelyard.yaml:2: a deployment is a group"),
        ("deployments:\n  - model: a/b", "modelyard.yaml:2: name is missing"),
        ("deployments:\n  - name: a", "modelyard.yaml:2: model is missing"),
        (
            "deployments:\n  - name: a\n    model: b\n    replica: 2",
            "modelyard.yaml:4: 'replica' is not known; there is: name",
        ),
        ("deployments:\n  - name: a\n    model: b\n    replicas: two", "modelyard.yaml:4: replicas: a whole number"),
        ("deployments:\n  - name: a\n    model: b\n    replicas: true", "modelyard.yaml:4: replicas: a whole number"),
        ("deployments:\n  - name: a\n    model: b\n    replicas: 65", "modelyard.yaml:4: replicas"),
        ("deployments:\n  - name: a\n    model: b\n    desired: up", "modelyard.yaml:4: desired: running or stopped"),
        ("deployments:\n  - name: a\n    model: b\n    aliases: x", "modelyard.yaml:4: aliases: a list of names"),
        ("deployments:\n  - name: a\n    model: b\n    name: c", "modelyard.yaml:4: name stands here twice"),
        (
            "deployments:\n  - {name: a, model: b}\n  - {name: a, model: c}",
            "modelyard.yaml:3: a stands on line 2 already",
        ),
        ("deployments: &a [*a]", "modelyard.yaml:1"),
        ("deployments:\n  - {name: a, model: b, options: &o {x: *o}}", "unfolds to too much"),
        ("a: !!python/object/apply:os.system [ls]", "modelyard.yaml:1: 'a' is not known"),
        ("\x00", "modelyard.yaml"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, said):
    with pytest.raises(Usage) as refused:
        manifest.read(text, "modelyard.yaml")
    assert said in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(Usage) as refused:
        manifest.read("deployments:\n  - {name: a, model: b, replicas: x}\n  - {name: 1}\n", "modelyard.yaml")
    assert len(str(refused.value).splitlines()) == 3


def test_a_file_that_unfolds_without_end_is_refused():
    lines = ["deployments:", "  - name: a", "    model: b", "    options:", "      l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"      l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(Usage, match="unfolds to too much"):
        manifest.read("\n".join(lines), "modelyard.yaml")


def test_a_date_stays_what_was_written():
    [one] = manifest.read("deployments:\n  - {name: a, model: b, options: {since: 2026-01-02}}", "modelyard.yaml")
    assert one.values["options"] == {"since": "2026-01-02"}
