"""The gateway under headers that mean harm: one answer each, none of them a server error, none of them let in."""

import re

import pytest

from tests.gateway.stack import ADA, Stack
from tests.parts.hostile_headers import hostile_headers

SHORT, LONG = 400, 10_000


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_no_header_opens_anything_or_breaks_anything(stack: Stack, count: int) -> None:
    seen: dict[str, int] = {}
    for name, value in hostile_headers(count, ADA):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: {value}\r\n"
        answer = stack.raw(head.encode("latin-1") + b"Content-Length: 2\r\n\r\n{}")
        statuses = re.findall(rb"(?m)^HTTP/1\.1 (\d{3}) ", answer)
        assert len(statuses) == 1, (name, value, answer[:300])
        seen[statuses[0].decode()] = seen.get(statuses[0].decode(), 0) + 1
    print(f"{count} headers: {seen}")
    assert set(seen) <= {"400", "401", "431"}
    assert stack.chat().status == 200
    assert not stack.engine.asked[:-1], "nothing but the last, honest request got through"
