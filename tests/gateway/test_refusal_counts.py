"""Refusals before a deployment is known leave a count: whose key, why, how often."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.stack import ADA, EXPIRED, READER, Stack, chat_body, eventually
from webapp.gateway.http.errors import Problem
from webapp.gateway.ledger.refusal_counts import MAX_GROUPS, RefusalCount, RefusalCounts
from webapp.gateway.routing.credentials import Principal

CHAT = "/v1/chat/completions"


def refused(stack: Stack, code: str) -> dict[str, Any]:
    """The latest count of this reason that web was told."""
    told: list[dict[str, Any]] = [row for row in stack.web.refused if row["code"] == code]
    return told[-1] if told else {}


@pytest.mark.parametrize(
    ("path", "body", "key", "code", "whose"),
    [
        (CHAT, chat_body("nosuch"), ADA, "model_not_found", (1, 3, 2)),
        (CHAT, b"{", ADA, "invalid_json", (1, 3, 2)),
        (CHAT, chat_body(None), ADA, "model_missing", (1, 3, 2)),
        (CHAT, chat_body("smol"), READER, "missing_scope", (3, 3, 2)),
        (CHAT, chat_body("smol"), EXPIRED, "expired_key", (4, 3, 2)),
        (CHAT, chat_body("smol"), "my_unknown", "invalid_key", (None, None, None)),
        (CHAT, chat_body("smol"), None, "missing_key", (None, None, None)),
        ("/v1/nothing", chat_body("smol"), ADA, "unknown_endpoint", (1, 3, 2)),
        ("/openai/deployments/x/chat/completions", chat_body("smol"), ADA, "unknown_endpoint", (1, 3, 2)),
        ("/v1/models", None, READER, "missing_scope", (3, 3, 2)),
        (CHAT, b" " * 2_000_000, ADA, "body_too_large", (1, 3, 2)),
    ],
)
def test_a_refusal_is_counted_for_the_key_that_asked(
    stack: Stack, path: str, body: Any, key: str | None, code: str, whose: tuple[Any, ...]
) -> None:
    answer = stack.ask("GET" if body is None else "POST", path, body, key)
    found = eventually(lambda: refused(stack, code))
    assert (found["key"], found["user"], found["team"]) == whose
    assert (found["kind"], found["status"], found["request_id"]) == ("refused", answer.status, answer.request_id)
    assert found["message"] == answer.error["message"][:300]
    assert found["at"] % 60 == 0 <= found["last_at"] - found["at"] < 60


def test_one_request_too_many_of_a_key_is_counted(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_MAX_KEY_REQUESTS="1").start()
    connection = stack.connect()
    connection.request("POST", CHAT, b'{"model":"smol","fake":{"hang":600}}', {"Authorization": f"Bearer {ADA}"})
    eventually(lambda: stack.engine.running == 1)
    assert stack.chat().status == 429
    assert eventually(lambda: refused(stack, "too_many_requests"))["key"] == 1
    connection.close()


def test_what_has_a_record_of_usage_is_not_counted_twice(stack: Stack) -> None:
    answer = stack.chat("asleep")
    assert stack.record(answer.request_id)["outcome"] == "refused"
    stack.ask("POST", "/v1/rerank", chat_body("smol"))
    stack.chat("nosuch")
    eventually(lambda: refused(stack, "model_not_found"))
    assert not refused(stack, "not_ready") and not refused(stack, "endpoint_not_offered")


def test_what_is_counted_when_the_gateway_stops_is_told(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    stack.chat("nosuch")
    assert stack.end() == 0
    assert refused(stack, "model_not_found")["count"] == 1


def counted(count: Callable[[RefusalCounts], None]) -> list[list[RefusalCount]]:
    told: list[list[RefusalCount]] = []

    async def run() -> None:
        counts = RefusalCounts(told.append)
        count(counts)
        counts.flush()

    asyncio.run(run())
    return told


PROBLEM = Problem(429, "too_many_requests", "no")


def test_a_flood_is_one_row_that_grows_under_one_id() -> None:
    ada = Principal(1, 3, 2, True, None)

    def flood(counts: RefusalCounts) -> None:
        for number in range(10_000):
            counts.count(ada, "chat/completions", PROBLEM, f"r{number}")
        counts.flush()
        counts.count(ada, "chat/completions", PROBLEM, "last")

    rows = [row for batch in counted(flood) for row in batch]
    assert len(rows) <= 4  # two, or four when a minute ends in between
    assert sum(max(row.count for row in rows if row.id == one) for one in {row.id for row in rows}) == 10_001
    assert rows[-1].request_id == "last"


def test_a_flood_of_keys_is_bounded_and_still_counted() -> None:
    def flood(counts: RefusalCounts) -> None:
        for number in range(MAX_GROUPS + 500):
            counts.count(Principal(number, 3, 2, True, None), "chat/completions", PROBLEM, "r")

    rows = [row for batch in counted(flood) for row in batch]
    assert len(rows) <= 2 * (MAX_GROUPS + 1)
    assert sum(row.count for row in rows) == MAX_GROUPS + 500
