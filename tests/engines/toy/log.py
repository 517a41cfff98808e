"""What a toy's log lines say."""

import re

from webapp.engines.base import LogFact

_UNPACKED = re.compile(r"^toy: unpacked (\d+) bytes$")


def parse(line: str) -> LogFact | None:
    """The fact in one line, or None."""
    unpacked = _UNPACKED.match(line)
    if unpacked is not None:
        return LogFact("buffer", "weights", value_bytes=int(unpacked[1]), device="box")
    if line == "toy: wound up":
        return LogFact("progress", "wound_up", fraction=1.0, text="wound up")
    return None


def is_our_asking(line: str) -> bool:
    """Whether somebody only looked at it."""
    return line.startswith("toy: looked at ")
