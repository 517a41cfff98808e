"""The words that deciders and the loop share. Pure."""

from dataclasses import dataclass

# How long to wait after a step: seconds, None for "until somebody calls", 0 for "as a new task", or GO_ON.
Pause = float | None

# Nothing to wait for: observe and decide again now.
GO_ON = -1.0
# The sweep sees every row to which nothing happens; a lost event costs at most one period of it.
LOOK_AGAIN_S = 4.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now; look again in `seconds` (None: only when somebody calls)."""

    seconds: Pause = LOOK_AGAIN_S
