"""Every operation of the API is a command."""

import pytest

from webapp.interfaces.cli.description import Description
from webapp.interfaces.cli.errors import Usage
from webapp.interfaces.cli.kinds import group_of, singular
from webapp.interfaces.cli.tree import option, pairs

DESCRIPTION = Description.read()


@pytest.mark.parametrize("group", DESCRIPTION.groups)
def test_every_operation_of_a_group_is_a_command_that_explains_itself(modelyard, group):
    listed = modelyard(group, "--help")
    assert listed.code == 0
    commands = {operation.command for operation in DESCRIPTION.of(group)}
    assert len(commands) == len(DESCRIPTION.of(group))
    for operation in DESCRIPTION.of(group):
        assert f"  {operation.command} " in listed.out
        told = modelyard(group, operation.command, "--help")
        assert told.code == 0, told.err
        assert operation.summary in " ".join(told.out.split())
        for field in operation.fields:
            if field.place != "path":
                assert option(field.name, group) in told.out, (operation.id, field.name)


def test_the_first_page_of_help_names_every_group(modelyard):
    told = modelyard("--help")
    assert told.code == 0
    for group in DESCRIPTION.groups:
        assert f"\n  {group} " in told.out


def test_every_group_has_a_singular_of_its_own_that_is_no_other_word():
    groups = list(DESCRIPTION.groups)
    assert len({singular(group) for group in groups}) == len(groups)
    assert {singular(group) for group in groups} & (set(groups) - {g for g in groups if singular(g) == g}) == set()
    assert [singular(word) for word in ("fetches", "schedule-runs", "people", "disk", "changes")] == [
        "fetch", "schedule-run", "person", "disk", "change",
    ]  # fmt: skip
    assert [group_of(word, groups) for word in ("job", "jobs", "Job", "jobz")] == ["jobs", "jobs", "jobs", None]


def test_nothing_of_the_server_is_imported():
    import subprocess
    import sys

    code = (
        "import sys; from webapp.interfaces.cli.main import build; build(['deployments']); "
        "print([n for n in ('django', 'ninja', 'pydantic', 'httpx', 'rich', 'celery') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["a=1", "b=text", "c=true", "d=[1]"], {"a": 1, "b": "text", "c": True, "d": [1]}),
        (['{"a": {"b": 1}}'], {"a": {"b": 1}}),
        (["a=b=c"], {"a": "b=c"}),
        (["a="], {"a": ""}),
    ],
)
def test_pairs_are_json_where_they_can_be(words, value):
    assert pairs(words) == value


@pytest.mark.parametrize("words", [["a"], ["=1"], ["{"]])
def test_what_is_no_pair_is_said(words):
    with pytest.raises(Usage):
        pairs(words)
