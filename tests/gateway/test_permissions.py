"""Grants and keys while requests run: who gets in, and who has to leave."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.stack import ADA, EVE, Stack, chat_body, eventually, key
from tests.gateway.test_snapshot import token


def open_stream(stack: Stack, path: str, model: str, api_key: str, **fake: Any) -> http.client.HTTPConnection:
    """A stream that has begun and lasts longer than any test; the caller reads on."""
    connection = stack.connect()
    body = json.dumps(chat_body(model, {"tokens": 100_000, "delay": 0.05, **fake}, stream=True))
    connection.request("POST", path, body, {"Authorization": f"Bearer {api_key}"})
    return connection


def granted(stack: Stack, *teams: int) -> dict[str, Any]:
    """What web says when ada's team grants `smol` to others."""
    return {"deployments": [stack.deployment(7, "smol", granted_teams=list(teams), replicas=[stack.replica(11, 0)])]}


def test_a_granted_deployment_is_there_under_both_addresses_and_in_the_list(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    paths = ("/v1/chat/completions", "/d/research/smol/v1/chat/completions")
    assert [stack.ask("POST", path, chat_body("smol"), EVE).status for path in paths] == [404, 404]
    stack.publish(**granted(stack, 5))
    assert [stack.ask("POST", path, chat_body("smol"), EVE).status for path in paths] == [200, 200]
    assert [model["id"] for model in stack.ask("GET", "/v1/models", key=EVE).json()["data"]] == ["smol"]
    assert stack.ask("GET", "/d/research/smol/v1/models", key=EVE).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/d/research/smol/v1/chat/completions"])
def test_a_withdrawn_grant_refuses_newcomers_and_ends_streams(make_stack: Callable[..., Stack], path: str) -> None:
    stack = make_stack().start()
    stack.publish(**granted(stack, 5))
    theirs = open_stream(stack, path, "smol", EVE)
    ours = open_stream(stack, path, "smol", ADA, tokens=60)
    answers = [theirs.getresponse(), ours.getresponse()]
    stack.publish(**granted(stack))
    assert stack.ask("POST", path, chat_body("smol"), EVE).status == 404
    with pytest.raises(http.client.IncompleteRead) as broken, answers[0]:
        answers[0].read()
    assert b'"code":"grant_withdrawn"' in broken.value.partial
    assert b"[DONE]" not in broken.value.partial
    assert answers[1].read().rstrip().endswith(b"data: [DONE]")
    eventually(lambda: stack.engine.cancelled == 1)
    record = stack.record(answers[0].headers["x-request-id"])
    assert (record["outcome"], record["status"]) == ("refused", 200)
    theirs.close()
    ours.close()


def test_a_revoked_key_ends_its_streams_and_no_others(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    other = "my_otherkey_" + "o" * 43
    keys = [key(1, ADA, user=3, team=2), key(9, other, user=3, team=2)]
    stack.publish(keys=keys)
    gone = open_stream(stack, "/v1/chat/completions", "smol", ADA)
    stays = open_stream(stack, "/v1/chat/completions", "smol", other, tokens=60)
    answers = [gone.getresponse(), stays.getresponse()]
    stack.publish(keys=keys[1:])
    with pytest.raises(http.client.IncompleteRead) as broken, answers[0]:
        answers[0].read()
    assert b'"code":"invalid_key"' in broken.value.partial
    assert answers[1].read().rstrip().endswith(b"data: [DONE]")
    gone.close()
    stays.close()


def test_a_key_that_is_told_its_end_in_the_middle_of_a_stream_ends_it_then(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    line = open_stream(stack, "/v1/chat/completions", "smol", ADA)
    answer = line.getresponse()
    # As a rotation does. Told beforehand, the end could come before the stream.
    stack.publish(keys=[key(1, ADA, user=3, team=2, expires_at=time.time() + 1.5)])
    with pytest.raises(http.client.IncompleteRead) as broken, answer:
        answer.read()
    assert b'"code":"expired_key"' in broken.value.partial
    line.close()


def test_a_key_revoked_before_the_first_byte_gets_a_plain_refusal(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    waits = stack.deployment(7, "smol", first_byte_timeout_s=3600, replicas=[stack.replica(11, 0)])
    stack.web.snapshot["deployments"] = [waits]
    stack.start()
    line = open_stream(stack, "/v1/chat/completions", "smol", ADA, hang=3000)
    eventually(lambda: stack.engine.running == 1)
    stack.publish(keys=[])
    answer = line.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (401, "invalid_key")
    line.close()


def test_requests_of_a_paused_engine_do_not_wait_for_whoever_unpauses_it(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    waits = stack.deployment(7, "smol", first_byte_timeout_s=3600, replicas=[stack.replica(11, 0)])
    stack.web.snapshot["deployments"] = [waits]
    stack.start()
    streams = open_stream(stack, "/v1/chat/completions", "smol", ADA)
    begun = streams.getresponse()
    line = open_stream(stack, "/v1/chat/completions", "smol", ADA, hang=3000)
    eventually(lambda: stack.engine.running == 2)
    stack.publish(deployments=[{**waits, "status": "paused", "replicas": [stack.replica(11, 0, "paused")]}])
    answer = line.getresponse()
    told = json.loads(answer.read())["error"]
    assert (answer.status, told["code"], answer.getheader("retry-after")) == (503, "engine_paused", "2")
    with pytest.raises(http.client.IncompleteRead) as broken, begun:
        begun.read()
    assert b'"code":"engine_paused"' in broken.value.partial
    line.close()
    streams.close()
    late = open_stream(stack, "/v1/chat/completions", "smol", ADA)
    answer = late.getresponse()
    assert answer.status == 503 and "is not available (paused)" in json.loads(answer.read())["error"]["message"]
    late.close()


def test_a_new_snapshot_that_takes_nothing_away_disturbs_nobody(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    line = open_stream(stack, "/v1/chat/completions", "smol", ADA, tokens=50)
    answer = line.getresponse()
    for number in range(4):
        stack.publish(people=[{"id": 1000 + number}])
    # Even a deployment that is not in the table any more: it is being taken down by its own rules.
    stack.publish(deployments=[])
    assert answer.read().rstrip().endswith(b"data: [DONE]")
    line.close()


def person(number: int, *teams: int, is_admin: bool = False) -> dict[str, Any]:
    return {"id": number, "teams": list(teams), "is_admin": is_admin}


@pytest.mark.parametrize(
    "lost",
    [
        {"people": [person(3), person(4, 5)]},
        {"people": [person(3, 9), person(4, 5)]},
    ],
    ids=["shut out", "left the team"],
)
def test_an_open_pages_token_ends_with_the_persons_rights(
    make_stack: Callable[..., Stack], lost: dict[str, Any]
) -> None:
    """Its five minutes are the longest it lives, not the least."""
    stack = make_stack().start()
    stack.publish(people=[person(3, 2), person(4, 5)])
    of_ada = token([7], time.time() + 60)
    line = open_stream(stack, "/v1/chat/completions", "smol", of_ada)
    answer = line.getresponse()
    assert answer.status == 200
    stack.publish(**lost)
    refused = stack.chat("smol", of_ada)
    assert (refused.status, refused.error["code"]) == (401, "invalid_token")
    with pytest.raises(http.client.IncompleteRead) as broken, answer:
        answer.read()
    assert b'"code":"invalid_token"' in broken.value.partial
    line.close()


def test_a_token_goes_on_for_admins_granted_teams_and_people_the_snapshot_does_not_know(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack().start()
    for people in ([person(3, is_admin=True)], [person(4)]):
        stack.publish(people=people)
        assert stack.chat("smol", token([7], time.time() + 60)).status == 200
    stack.publish(people=[person(3, 5)], **granted(stack, 5))
    assert stack.chat("smol", token([7], time.time() + 60)).status == 200
    stack.publish(**granted(stack))
    assert stack.chat("smol", token([7], time.time() + 60)).status == 401
