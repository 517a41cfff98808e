"""Records as gateways send them."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """One delivered record: a good chat answer of 11 + 7 tokens unless told otherwise."""

    def make(**more: Any) -> dict[str, Any]:
        return {
            "id": uuid.uuid4().hex,
            "at": time.time(),
            "key": None,
            "user": None,
            "team": None,
            "deployment": None,
            "endpoint": "chat/completions",
            "request_id": uuid.uuid4().hex,
            "status": 200,
            "outcome": "ok",
            "stream": True,
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "counted_by": "engine",
            "ttft_ms": 12.5,
            "duration_ms": 80.0,
            "max_gap_ms": 3.0,
            "bytes_out": 100,
            **({} if "replica" in more else {"replica_id": None}),  # earlier versions: "replica"
            **more,
        }

    return make
