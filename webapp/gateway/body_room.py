"""How much of clients' bodies one process holds in memory."""

from webapp.gateway.errors import Problem, retry_after
from webapp.gateway.framing import too_large_body
from webapp.gateway.state import State


def hold(state: State, held: int, size: int) -> int:
    """Count a body of `size` bytes, of which `held` are counted already; returns what is counted for it from now on.
    Raises Problem 413 or 503."""
    settings = state.settings
    if size > settings.max_body_bytes:
        raise too_large_body(settings.max_body_bytes)
    others = state.buffered_bytes - held
    if others + size > settings.max_buffered_bytes:
        message = "The gateway holds as many request bodies as it may: try again shortly"
        raise Problem(503, "gateway_busy", message, headers=retry_after(2), close=True)
    # What is announced counts as held: many large bodies at once would otherwise all be let in.
    held = max(held, size)
    state.buffered_bytes = others + held
    return held


def release(state: State, held: int) -> None:
    state.buffered_bytes -= held
