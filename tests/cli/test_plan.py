"""From what is to what was declared."""

import pytest

from webapp.interfaces.cli import plan
from webapp.interfaces.cli.plan import Want

CHAT = {
    "id": 7,
    "team": "research",
    "name": "chat",
    "artifact_id": 1,
    "engine": "llamacpp",
    "options": {"context_length": 4096},
    "desired_replicas": 1,
    "host": None,
    "image": "",
    "desired_state": "running",
}


def want(desired="", **fields):
    return Want("research", "chat", {"artifact": 1, **fields}, desired)


def one(wants, present=(CHAT,), **more):
    [step] = plan.make(wants, present, **more)
    return step


def test_what_is_as_declared_needs_nothing():
    step = one([want(options={"context_length": 4096}, replicas=1, host=None, desired="running")])
    assert (step.action, step.body, step.then) == ("unchanged", {}, "")


def test_what_was_not_declared_is_left_as_it_is():
    assert (
        one([want()], [CHAT | {"desired_replicas": 5, "host": "local", "desired_state": "stopped"}]).is_change is False
    )


def test_only_what_differs_is_sent():
    step = one([want(options={"context_length": 8192}, replicas=1)])
    assert (step.action, step.id, step.body) == ("update", 7, {"options": {"context_length": 8192}})
    assert plan.told(step) == "~ research/chat  update  options.context_length: 4096 -> 8192"


def test_a_request_to_stop_is_a_change_of_its_own():
    step = one([want("stopped")])
    assert (step.action, step.body, step.then) == ("update", {}, "stop")
    assert plan.told(step) == "~ research/chat  update  desired: running -> stopped"


def test_what_is_missing_is_made_and_stopped_if_so_declared():
    step = one([want("stopped", replicas=2)], [])
    assert (step.action, step.then) == ("create", "stop")
    assert step.body == {"name": "chat", "team": "research", "artifact": 1, "replicas": 2}


def test_the_same_name_in_another_team_is_another_deployment():
    assert one([want()], [CHAT | {"team": "strangers"}]).action == "create"


def test_nothing_is_deleted_unless_it_was_asked_for_and_then_only_in_the_files_teams():
    present = [CHAT, CHAT | {"id": 8, "name": "old"}, CHAT | {"id": 9, "name": "other", "team": "strangers"}]
    present.append(CHAT | {"id": 10, "name": "going", "desired_state": "deleted"})
    assert [step.action for step in plan.make([want()], present)] == ["unchanged"]
    steps = plan.make([want()], present, prune=True)
    assert [(step.action, step.name, step.id) for step in steps] == [("unchanged", "chat", 7), ("delete", "old", 8)]
    assert plan.told(steps[1]) == "- research/old  delete"


@pytest.mark.parametrize("name", ["aliases", "placement_labels"])
def test_the_order_of_words_and_one_that_is_written_twice_are_no_difference(name):
    assert not one([want(**{name: ["b", "a", "b"]})], [CHAT | {name: ["a", "b"]}]).is_change
    assert one([want(**{name: ["b", "b"]})], [CHAT | {name: ["a", "b"]}]).is_change


def test_a_host_is_compared_by_its_name_and_sent_as_its_id():
    pinned = Want("research", "chat", {"artifact": 1, "host": 3}, shown={"host": "local"})
    assert not one([pinned], [CHAT | {"host": "local"}]).is_change
    step = one([pinned])
    assert step.body == {"host": 3}
    assert plan.told(step) == "~ research/chat  update  host: - -> local"


def test_a_field_that_the_api_does_not_tell_is_no_reason_for_a_change():
    assert not one([want(aliases=["a"])]).is_change


def test_recipes_are_in_order_and_measuring_has_defaults_that_nobody_wrote():
    there = {
        "id": 3, "team": "research", "name": "nightly", "artifact_id": 1, "measure": {"chunks": 64, "speed": True},
        "recipes": [{"method": "gguf", "options": {}}, {"method": "awq", "options": {}}],
    }  # fmt: skip
    fields = {"artifact": 1, "recipes": there["recipes"], "measure": {"chunks": 64}}
    same = Want("research", "nightly", fields, kind="schedule")
    assert one([same], [there]).action == "unchanged"
    turned = Want("research", "nightly", {**fields, "recipes": there["recipes"][::-1]}, kind="schedule")
    step = one([turned], [there])
    assert (step.action, list(step.body), step.kind) == ("update", ["recipes"], "schedule")
    assert plan.told(step).startswith("~ schedule research/nightly")
