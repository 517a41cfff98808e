"""What a job's container said last, read from its log. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from webapp.foundation.text import one_line, plain, storable

# Enough to hold a program's own line among what its tool says.
LOG_LINES = 400
MOST_LOG = 8000


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job's container said with its last lines. `keeps`: what it has done so far is worth going on with."""

    result: dict[str, Any] | None = None
    message: str = ""
    advice: str = ""
    code: str = ""
    keeps: bool = False
    reached: int = 0


def read_ending(log: str) -> Ending:
    """The last result or error among lines of JSON; lines that are no JSON are passed over."""
    reached = 0
    for line in reversed(log.splitlines()):
        try:
            said = storable(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if not isinstance(said, dict):
            continue
        error = said.get("error")
        if isinstance(error, dict):
            words = one_line(error.get("message", "It failed.")), one_line(error.get("advice", ""))
            return Ending(None, *words, one_line(error.get("code", "")), keeps=error.get("keeps") is True)
        if said.get("step") == "done":
            return Ending(said)
        if said.get("step") != "verify" and isinstance(said.get("done"), int):
            reached = max(reached, said["done"])
    return Ending(reached=reached)


def plain_lines(log: str) -> str:
    """What a tool said in its own words: the newest lines that are no JSON."""
    lines = [line for line in log.splitlines() if not line.startswith("{")]
    return plain("\n".join(lines))[-MOST_LOG:]
